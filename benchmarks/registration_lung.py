"""Lung CT pair with marked points: stock elastix, ConvexAdam and the torch engine in one run.

    python -m benchmarks registration_lung

Needs the shared scans, and `make peers` for ConvexAdam. All use one thread. Times exclude imports
and the reading of files.
"""

from __future__ import annotations

import csv
import os
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch
from numpy.typing import NDArray

from synthct.data.itk import displacement_to_itk, from_itk, resample, to_itk
from synthct.data.volume import Displacement, Grid, Modality, Volume
from synthct.tasks.fields.geometry import centre_of_mass_mm, displacement_of, working_grid
from synthct.tasks.fields.jacobian import deformation_quality
from synthct.tasks.registration.elastix.run import _silent_stdout
from synthct.tasks.registration.job import Job
from synthct.tasks.registration.methods import METHODS
from synthct.tasks.registration.pair import register_files
from synthct.tasks.registration.presets import preset_called
from synthct.tasks.registration.scan_pair import ScanPair

FOLDER = Path(os.environ.get("SYNTHCT_SHARED_DATA", "../shared/data")) / "lung_ct_pair"
PEERS = Path(".venv-peers/bin/python")
SUSPECT = 20
"""Landmark that all methods miss by more than a centimetre, so it is probably marked wrongly."""

PEER_MM = 1.5
"""ConvexAdam has no voxel size: it gets isotropic voxels [mm]."""

MARGIN_MM = 5.0
"""Around the lung, for all but elastix [mm]."""


@dataclass(frozen=True, eq=False)
class Scans:
    """Both scans with their lungs, and the marked points."""

    pair: ScanPair
    shift: sitk.TranslationTransform
    index: NDArray[np.int64]
    fixed_points: NDArray[np.float64]
    moving_points: NDArray[np.float64]

    @classmethod
    def read(cls) -> Scans:
        """Read the shared folder; the shift maps the centre of one lung to that of the other."""
        volumes = [
            from_itk(sitk.ReadImage(str(FOLDER / f"3DCT_lung_{name}.mha")), modality)
            for name, modality in (
                ("baseline", Modality.CT),
                ("followup", Modality.CT),
                ("baseline_mask", Modality.MASK),
                ("followup_mask", Modality.MASK),
            )
        ]
        pair = ScanPair(*volumes)
        centres = [centre_of_mass_mm(mask) for mask in (pair.fixed_body, pair.moving_body)]
        shift = [b - a for a, b in zip(*centres, strict=True)]
        with (FOLDER / "landmarks.csv").open() as file:
            rows = np.array([[float(v) for v in row.values()] for row in csv.DictReader(file)])
        return cls(
            pair,
            sitk.TranslationTransform(3, shift[::-1]),
            rows[:, 0].astype(np.int64),
            rows[:, 1:4],
            rows[:, 4:7],
        )

    def grid(self, spacing_mm: tuple[float, float, float] | None = None) -> Grid:
        """The lung's box."""
        return working_grid(
            self.pair.fixed_body, spacing_mm or self.pair.fixed.grid.spacing_mm, MARGIN_MM
        )


@dataclass(frozen=True, eq=False)
class Found:
    """A method's transform (fixed -> moving points) and what it cost."""

    transform: sitk.Transform
    wall_s: float
    cpu_s: float


def elastix(scans: Scans) -> Found:
    """Translation, affine and B-spline with elastix' own default parameters on the whole images.

    With the lungs' masks it is worse or fails, because the edge of the lung, on which mutual
    information depends, is then at the border.
    """
    fixed, moving = (_itk(volume) for volume in (scans.pair.fixed, scans.pair.moving))
    engine = sitk.ElastixImageFilter()
    engine.LogToConsoleOff()
    engine.SetNumberOfThreads(1)
    engine.SetFixedImage(fixed)
    engine.SetMovingImage(moving)
    maps = sitk.VectorOfParameterMap()
    for kind in ("translation", "affine", "bspline"):
        settings = sitk.GetDefaultParameterMap(kind)
        settings["RandomSeed"] = ("1",)
        if kind == "translation":  # it does not find 35 mm from the positions in the headers
            settings["AutomaticTransformInitialization"] = ("true",)
            settings["AutomaticTransformInitializationMethod"] = ("GeometricalCenter",)
        maps.append(settings)
    engine.SetParameterMap(maps)
    with tempfile.TemporaryDirectory() as folder, _silent_stdout():
        engine.SetOutputDirectory(folder)
        begun = time.perf_counter(), time.process_time()
        engine.Execute()
        spent = time.perf_counter() - begun[0], time.process_time() - begun[1]
        field = sitk.TransformixImageFilter()
        field.LogToConsoleOff()
        field.SetOutputDirectory(folder)
        field.SetMovingImage(moving)
        field.SetTransformParameterMap(engine.GetTransformParameterMap())
        field.ComputeDeformationFieldOn()
        field.Execute()
        image = sitk.Cast(field.GetDeformationField(), sitk.sitkVectorFloat64)
    return Found(sitk.DisplacementFieldTransform(image), *spent)


def convex_adam(scans: Scans) -> Found:
    """ConvexAdam 0.2.0 with its defaults, on cubes, after the shift of the centres."""
    grid = scans.grid((PEER_MM,) * 3)
    fixed = resample(scans.pair.fixed, grid, outside=-1000.0)
    moving = resample(scans.pair.moving, grid, transform=scans.shift, outside=-1000.0)
    with tempfile.TemporaryDirectory() as folder:
        for name, image in (("fixed", fixed), ("moving", moving)):
            np.save(Path(folder) / f"{name}.npy", image.array.astype(np.float32))
        words = [str(PEERS), "benchmarks/_convex_adam.py", folder]
        one = {**os.environ, "OMP_NUM_THREADS": "1"}
        output = subprocess.run(words, check=True, capture_output=True, text=True, env=one).stdout
        voxels = np.load(Path(folder) / "displacement.npy")
    wall, cpu = (float(word) for word in output.split()[-2:])
    u = np.moveaxis(voxels, -1, 0).astype(np.float32) * PEER_MM
    return Found(_after_shift(scans, Displacement(u, grid)), wall, cpu)


def engine(method: str) -> Callable[[Scans], Found]:
    """The torch engine with that method's defaults, after the shift of the centres."""

    def run(scans: Scans) -> Found:
        begun = time.perf_counter(), time.process_time()
        preset = preset_called("lung")
        job = Job.of(scans.pair, scans.grid(), preset, seed=0, threads=1)
        found = METHODS.build(method, {}).deformable(job, scans.shift)
        return Found(found, time.perf_counter() - begun[0], time.process_time() - begun[1])

    return run


def command(scans: Scans) -> Found:
    """All of ``synthct register``: rigid search, engine, gate, files."""
    mask = {f"{role}_mask": FOLDER / f"3DCT_lung_{day}_mask.mha" for role, day in DAYS}
    begun = time.perf_counter(), time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        quality = register_files(
            *(FOLDER / f"3DCT_lung_{day}.mha" for _, day in DAYS),
            **mask,
            fixed_modality=Modality.CT,
            moving_modality=Modality.CT,
            method="mind_fine",
            preset="lung",
            out=out,
        ).quality
        spent = time.perf_counter() - begun[0], time.process_time() - begun[1]
        transform = sitk.ReadTransform(str(out / str(quality["transform"])))
    return Found(transform, *spent)


DAYS = (("fixed", "baseline"), ("moving", "followup"))

METHODS_RUN: dict[str, Callable[[Scans], Found]] = {
    "elastix: translation, affine, B-spline": elastix,
    "ConvexAdam 0.2.0": convex_adam,
    "`mind_fine` (engine after the shift of the centres)": engine("mind_fine"),
    "`synthct register --method mind_fine --settings lung` with the lungs as `--fixed-mask` and "
    "`--moving-mask`, including rigid step and gate": command,
}


def row(name: str, scans: Scans, found: Found) -> str:
    """A line of the table."""
    there = np.array([found.transform.TransformPoint(point) for point in scans.fixed_points])
    error = np.linalg.norm(there - scans.moving_points, axis=1)
    kept = error[scans.index != SUSPECT]
    grid = scans.grid()
    lung = resample(scans.pair.fixed_body, grid, outside=0, nearest=True).array
    folds = deformation_quality(displacement_of(found.transform, grid), lung).folding_percent
    without, with_all = (
        f"{values.mean():.2f} / {np.median(values):.2f} / {values.max():.1f}"
        for values in (kept, error)
    )
    return (
        f"| {name} | {without} | {with_all} | {folds:.3f} | {found.wall_s:.1f} "
        f"| {found.cpu_s:.1f} |"
    )


def measure() -> str:
    """The page's table."""
    if not FOLDER.is_dir():
        return "Not measured: `SYNTHCT_SHARED_DATA` does not name the shared scans."
    scans = Scans.read()
    torch.set_num_threads(1)
    start = np.linalg.norm(scans.fixed_points - scans.moving_points, axis=1)
    lines = [
        f"{len(start)} marked points, {start.mean():.1f} mm apart before. Mean / median / max "
        f"error [mm] without and with point {SUSPECT}, which all methods miss by more than a "
        "centimetre, so it is probably marked wrongly; folding [% of the lung]; seconds without "
        "imports, one thread each.",
        "",
        f"| | without point {SUSPECT} | all | folding | wall s | CPU s |",
        "|---|---|---|---:|---:|---:|",
    ]
    absent = []
    for name, method in METHODS_RUN.items():
        if method is convex_adam and not PEERS.is_file():
            absent.append(f"{name} was not installed: `make peers` installs it.\n")
            continue
        try:
            lines.append(row(name, scans, method(scans)))
        except RuntimeError as error:
            lines.append(f"| {name} | failed: {str(error).strip().splitlines()[-1]} | | | | |")
    return "\n".join([*lines, "", *absent, NOTE])


NOTE = """
The settings of the engine were chosen on these points, so its errors on an unseen pair may be
larger. The other programs have their default settings; elastix gets the whole images, because with
the lungs' masks it is worse or fails. Points are at whole voxels of 1.4 x 1.4 x 2.5 mm in the
baseline scan, and at half voxels in the other. This rounding alone has a standard deviation of 0.72
mm along z and 0.39 mm along x and y in the baseline scan, and half of that in the other, so an
exact registration would have an error of about 0.9 mm. GPUs were not measured.

Variants tried during development: mean / median error [mm] without point 20, in a box of 5 mm
around the lung and, after a semicolon, of 12 mm. *Inverse consistency* is the penalty of that name.

| variant of `mind_fine` | mean / median | remark |
|---|---|---|
| as it is | 1.04 / 0.73; 1.06 / 0.72 | SD of the log-Jacobian 0.24 |
| without inverse consistency | 1.05 / 0.81; 1.11 / 0.81 | SD of the log-Jacobian 0.38 |
| inverse consistency, weight 0.003 | 1.03 / 0.72 | |
| inverse consistency, weight 0.03 | 1.05 / 0.70; 1.08 / 0.69 | |
| inverse consistency, weight 0.1 | 1.33 / 1.13; 1.24 / 1.14 | |
| half the diffusion, 40 + 60 steps | 1.02 / 0.74; 1.06 / 0.77 | twice the time |
| diffusion alone, weight 0.06 | 1.11 / 0.83 | |
| diffusion alone, weight 0.1 | 1.14 / 0.93 | |
| more or smaller steps | 1.07 to 1.11 (means) | |
| mean of a registration and the inverse of one in the other direction | 1.04 / 0.82 | |
| a third level | 1.02 / 0.71 | box of 5 mm only; 2.5 times the time |
| a velocity field | 1.33 / 1.2 | |

Points 30, 0 and 26 beside the hilum have the largest errors (except 20). They also had in earlier
variants: windows to -200, 0 and 200 HU, masks grown by 0 to 10 mm, local correlation and MIND of
several sizes and their sum, finer and coarser grids of control points, an isotropic grid.
""".strip()


def _after_shift(scans: Scans, displacement: Displacement) -> sitk.CompositeTransform:
    # ITK applies the transform that was added last first.
    field = sitk.DisplacementFieldTransform(displacement_to_itk(displacement))
    return sitk.CompositeTransform([scans.shift, field])


def _itk(volume: Volume) -> sitk.Image:
    return sitk.Cast(to_itk(volume), sitk.sitkFloat32)
