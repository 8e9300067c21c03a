"""The cone-beam projector and FDK compared with RTK, on the same off-centre ellipsoids."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from benchmarks._projector_speed import (
    SOURCE_AXIS_MM,
    SOURCE_DETECTOR_MM,
    ours_at,
    rtk_at,
    speed_table,
)

PEERS = Path(".venv-peers/bin/python")

SHAPE, SPACING_MM = (64, 96, 96), 3.0
VIEWS, DETECTOR, PIXEL_MM = 60, (96, 160), 4.5

ELLIPSOIDS = (
    ((5.0, -10.0, 8.0), (60.0, 70.0, 100.0), 0.020),
    ((-20.0, 25.0, 40.0), (15.0, 20.0, 12.0), 0.015),
    ((25.0, -30.0, -45.0), (12.0, 10.0, 25.0), -0.012),
)
"""Centre and half axes (z, y, x) [mm], attenuation added [1/mm]; no symmetry can hide a flip."""


def phantom() -> np.ndarray:
    """Attenuation (Z, Y, X) [1/mm]; voxels are split into 3 x 3 x 3 for their share of an edge."""
    parts = 3
    axes = [
        (np.arange(n * parts) - (n * parts - 1) / 2) * SPACING_MM / parts for n in SHAPE
    ]  # fmt: skip
    z, y, x = axes[0][:, None, None], axes[1][:, None], axes[2]
    fine = np.zeros([n * parts for n in SHAPE], np.float32)
    for centre, half, value in ELLIPSOIDS:
        inside = sum(((a - c) / h) ** 2 for a, c, h in zip((z, y, x), centre, half, strict=True))
        fine += np.where(inside < 1, np.float32(value), np.float32(0))
    blocks = fine.reshape(SHAPE[0], parts, SHAPE[1], parts, SHAPE[2], parts)
    return blocks.mean(axis=(1, 3, 5), dtype=np.float32)


def ours(folder: Path) -> dict[str, float]:
    """Sinograms (views, V, U) of both our projectors, and FDK, into the folder."""
    import torch

    from synthct.data.tomography.cone_beam import ConeBeam, forward_project, full_circle
    from synthct.data.tomography.fdk import reconstruct
    from synthct.data.tomography.projector import Projector
    from synthct.data.volume import Grid

    origin = [-(n - 1) / 2 * SPACING_MM for n in SHAPE]
    grid = Grid(SHAPE, (SPACING_MM,) * 3, tuple(origin))
    beam = ConeBeam(
        full_circle(VIEWS), DETECTOR, (PIXEL_MM, PIXEL_MM), SOURCE_AXIS_MM, SOURCE_DETECTOR_MM
    )
    volume = torch.from_numpy(phantom())[None]
    projector = Projector(grid, beam)
    sinogram = projector.forward(volume[0])
    image = reconstruct(sinogram, grid, beam)
    np.save(folder / "sampled.npy", forward_project(volume, grid, beam)[0].numpy())
    np.save(folder / "ours.npy", sinogram.numpy())
    np.save(folder / "ours_fdk.npy", image.numpy())
    return {}


def rtk(folder: Path) -> dict[str, float]:
    """RTK's Joseph projector, exact chords of its ellipsoids and FDK, in our axes.

    Its rotation axis is y and its source starts at +z: our (x, z, -y).
    """
    import itk
    from itk import RTK

    itk.MultiThreaderBase.SetGlobalDefaultNumberOfThreads(1)
    geometry = RTK.ThreeDCircularProjectionGeometry.New()
    for view in range(VIEWS):
        geometry.AddProjection(SOURCE_AXIS_MM, SOURCE_DETECTOR_MM, view * 360.0 / VIEWS)
    kind = itk.Image[itk.F, 3]

    def image(array: np.ndarray, spacing: list[float], origin: list[float]):
        made = itk.image_from_array(np.ascontiguousarray(array, np.float32))
        made.SetSpacing(spacing)
        made.SetOrigin(origin)
        return made

    def empty_views():
        v, u = DETECTOR
        origin = [-(u - 1) / 2 * PIXEL_MM, -(v - 1) / 2 * PIXEL_MM, 0.0]
        return image(np.zeros((VIEWS, v, u)), [PIXEL_MM, PIXEL_MM, 1.0], origin)

    # (Z, Y, X) of ours -> arrays (z', y', x') of RTK: z' = -y, y' = z, x' = x.
    turned = phantom()[:, ::-1, :].transpose(1, 0, 2)
    origin = [-(n - 1) / 2 * SPACING_MM for n in turned.shape[::-1]]
    volume = image(turned, [SPACING_MM] * 3, origin)

    joseph = RTK.JosephForwardProjectionImageFilter[kind, kind].New()
    joseph.SetInput(0, empty_views())
    joseph.SetInput(1, volume)
    joseph.SetGeometry(geometry)
    joseph.Update()
    sinogram = itk.array_from_image(joseph.GetOutput())

    exact = np.zeros_like(sinogram)
    for centre, half, value in ELLIPSOIDS:
        chords = RTK.RayEllipsoidIntersectionImageFilter[kind, kind].New()
        chords.SetInput(empty_views())
        chords.SetGeometry(geometry)
        chords.SetDensity(value)
        chords.SetCenter([centre[2], centre[0], -centre[1]])
        chords.SetAxis([half[2], half[0], half[1]])
        chords.Update()
        exact += itk.array_from_image(chords.GetOutput())

    fdk = RTK.FDKConeBeamReconstructionFilter[kind].New()
    fdk.SetInput(0, image(np.zeros_like(turned), [SPACING_MM] * 3, origin))
    fdk.SetInput(1, joseph.GetOutput())
    fdk.SetGeometry(geometry)
    fdk.GetRampFilter().SetHannCutFrequency(1.0)
    fdk.Update()
    back = itk.array_from_image(fdk.GetOutput()).transpose(1, 0, 2)[:, ::-1, :]
    np.save(folder / "rtk.npy", sinogram)
    np.save(folder / "exact.npy", exact)
    np.save(folder / "rtk_fdk.npy", back)
    return {}


RUNS = {"ours": ours, "rtk": rtk, "ours_at": ours_at, "rtk_at": rtk_at}


def _child(python: Path | str, name: str, folder: Path, *more: int) -> dict[str, float]:
    done = subprocess.run(
        [str(python), "-m", "benchmarks.projector", name, str(folder), *map(str, more)],
        capture_output=True, text=True, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    return json.loads(done.stdout.splitlines()[-1])


def _apart(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.linalg.norm(one - other) / np.linalg.norm(other))


def measure() -> str:
    """The tables, or a note that RTK is not installed."""
    if not PEERS.exists():
        return "RTK was not installed: `make peers` installs it."
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        _child(sys.executable, "ours", folder)
        _child(PEERS, "rtk", folder)
        images = {path.stem: np.load(path) for path in folder.glob("*.npy")}
    truth = phantom()
    middle = slice(16, 48)  # the cone's ends are not seen by every view
    fdk = [_apart(images[name][middle], truth[middle]) for name in ("ours_fdk", "rtk_fdk")]
    apart = _apart(images["ours"], images["rtk"])
    size = "x".join(map(str, SHAPE))
    exact = [_apart(images[name], images["exact"]) for name in ("ours", "rtk")]
    both_fdk = _apart(images["ours_fdk"][middle], images["rtk_fdk"][middle])
    sampled = _apart(images["sampled"], images["exact"])
    return "\n".join(
        [
            f"Three ellipsoids without symmetry in {size} voxels of {SPACING_MM:g} mm, {VIEWS} "
            f"views of {DETECTOR[0]}x{DETECTOR[1]} pixels. Differences are 2-norms, relative to "
            "the reference that is named second. The sampling projector that simulates digital "
            f"patients differs from the exact chords by {sampled:.4f}.",
            "",
            "| | ours | RTK (Joseph, FDK) |",
            "|---|---|---|",
            f"| sinogram against exact chords | {exact[0]:.4f} | {exact[1]:.4f} |",
            f"| sinogram against RTK's | {apart:.4f} | |",
            f"| FDK against the phantom, middle slices | {fdk[0]:.3f} | {fdk[1]:.3f} |",
            f"| FDK against RTK's | {both_fdk:.3f} | |",
            "",
            *speed_table(_child, {"ours_at": sys.executable, "rtk_at": PEERS}),
        ]
    )


if __name__ == "__main__":
    print(json.dumps(RUNS[sys.argv[1]](Path(sys.argv[2]), *map(int, sys.argv[3:]))))
