"""Cone-beam reconstruction of digital patients with few views and low dose, with priors."""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from skimage.metrics import structural_similarity

from synthct.data.phantom.anatomy import build_anatomy
from synthct.data.phantom.cbct import path_lengths_mm
from synthct.data.phantom.ct import hu_raster, true_ct
from synthct.data.phantom.imager import (
    Imager,
    corrected_lines,
    effective_water_per_mm,
    materials,
)
from synthct.data.phantom.patient import FIELD_MM, VIEW_DIAMETER_MM, centred_grid, raster_grid
from synthct.data.phantom.sampling import SAME_DAY, sample
from synthct.data.phantom.tissues import label_table
from synthct.data.tomography.cone_beam import covering
from synthct.data.tomography.fdk import field_of_view
from synthct.data.tomography.sinogram import Sinogram
from synthct.data.volume import Grid
from synthct.tasks.pipeline.randomness import generator
from synthct.tasks.reconstruction.job import Settings, reconstruct_sinogram

PROJECTED = 360
"""Projected views of a patient, of which a subset is used."""

DOSES = {"1": 1.0, "1/4": 0.25, "1/10": 0.1}
PHOTONS_PER_MM2 = 2.0e4
"""Photons of the open beam per view at full dose; the same with fewer views."""

CORNER = (60, "1/4")
"""Views and dose at which strengths are chosen and the best prior is compared with FDK."""

METHODS: Mapping[str, Settings] = {
    "FDK, smooth": Settings(method="fdk", prior="", window=1.0),
    "FDK": Settings(method="fdk", prior="", window=2.0),
    "SART": Settings(method="sart", prior="", iterations=3),
    "CGLS": Settings(method="cgls", prior="", iterations=8),
    "total variation": Settings(prior="image_total_variation", iterations=20),
    "guided total variation": Settings(prior="guided_total_variation", iterations=20),
    "graph Laplacian": Settings(prior="graph_laplacian", iterations=20),
}
STRENGTHS: Mapping[str, Sequence[float]] = {
    "total variation": (0.003, 0.008),
    "guided total variation": (0.003, 0.008),
    "graph Laplacian": (0.002, 0.006),
}
USUAL = {"total variation": 0.005, "guided total variation": 0.005, "graph Laplacian": 0.003}
"""Strengths without ``--choose``; for total variation the default of the command."""


@dataclass(frozen=True, eq=False)
class Case:
    """A patient: path lengths of 360 views, true CT [HU], and the regions of the errors."""

    name: str
    lengths_mm: torch.Tensor
    grid: Grid
    truth_hu: NDArray[np.float64]
    body: NDArray[np.bool_]
    bone: NDArray[np.bool_]
    diameter_mm: float
    voxel_mm: float


def case_of(region: str, seed: int, voxel_mm: float, height_mm: float) -> Case:
    """Draw the anatomy and project it once, with all views."""
    rng = generator(seed, "benchmark", "reconstruction", region)
    anatomy = build_anatomy(region, raster_grid(region, voxel_mm / 2), rng)
    tall, *across = FIELD_MM[region]["cbct"]
    grid = centred_grid((min(tall, height_mm), *across), (voxel_mm,) * 3)
    truth = true_ct(anatomy, "cbct", grid, SAME_DAY).array.astype(np.float64)
    diameter_mm = VIEW_DIAMETER_MM[region]
    beam = covering(
        PROJECTED, diameter_mm=diameter_mm, height_mm=grid.extent_mm[0], pixel_mm=voxel_mm
    )
    room = anatomy.grid.with_spacing((0.75 * voxel_mm,) * 3)
    content = sample(materials(hu_raster(anatomy, "cbct")), anatomy.grid, room, SAME_DAY)
    lengths = path_lengths_mm(content, room, beam)
    bony = [int(n) for n, entry in label_table().items() if entry["structure"] == "bone"]
    labels = anatomy.labels["cbct"]
    parts = np.stack([labels > 0, np.isin(labels, bony)]).astype(np.float32)
    body, bone = sample(parts, anatomy.grid, grid, SAME_DAY) > 0.5
    seen = field_of_view(grid, beam).numpy()
    return Case(
        f"{region} {seed}", lengths, grid, truth, body & seen, bone & seen, diameter_mm, voxel_mm
    )


def measured(case: Case, views: int, dose: float) -> Sinogram:
    """Counts of equally spaced views."""
    beam = covering(
        PROJECTED, diameter_mm=case.diameter_mm, height_mm=case.grid.extent_mm[0],
        pixel_mm=case.voxel_mm,
    )  # fmt: skip
    step = PROJECTED // views
    beam = replace(beam, angles_rad=beam.angles_rad[::step])
    imager = Imager(0.0, PHOTONS_PER_MM2 * dose * case.voxel_mm**2, water_precorrection=1.0)
    rng = generator(0, "benchmark", case.name, str(views), str(dose))
    lines = corrected_lines(case.lengths_mm[:, ::step], beam, imager, rng)
    counts = imager.photons * torch.exp(-lines)
    return Sinogram(counts.numpy().astype(np.float32), beam, imager.photons)


def scores(case: Case, settings: Settings, sinogram: Sinogram) -> dict[str, float]:
    """Errors inside the body and the field of view, and processor seconds."""
    imager = Imager(0.0, 1.0)
    settings = replace(settings, water_per_mm=effective_water_per_mm(imager), tolerance_hu=0.0)
    started = time.process_time()
    image = reconstruct_sinogram(sinogram, case.grid, settings).image.array.astype(np.float64)
    seconds = time.process_time() - started
    error = image - case.truth_hu
    soft = case.body & ~case.bone & (np.abs(case.truth_hu) < 200)
    bone = case.bone & (case.truth_hu > 300)
    clipped = [np.clip(one, -1000, 1500) for one in (image, case.truth_hu)]
    _, similar = structural_similarity(*clipped, data_range=2500, win_size=5, full=True)
    return {
        "rmse": float(np.sqrt((error[case.body] ** 2).mean())),
        "ssim": float(similar[case.body].mean()),
        "bone": float(np.abs(error[bone]).mean()),
        "soft": float(np.abs(error[soft]).mean()),
        "seconds": seconds,
    }


def chosen_strengths(case: Case) -> dict[str, float]:
    """The strength with the least error for each prior, on a patient that is not scored."""
    views, dose = CORNER
    sinogram = measured(case, views, DOSES[dose])
    return {
        name: min(
            tried,
            key=lambda weight: scores(
                case, replace(METHODS[name], weight=weight), sinogram
            )["rmse"],
        )
        for name, tried in STRENGTHS.items()
    }  # fmt: skip


Found = dict[tuple[int, str, str], list[dict[str, float]]]


def measure(
    regions: Sequence[str] = ("head-neck",),
    seeds: int = 1,
    voxel_mm: float = 8.0,
    height_mm: float = 96.0,
    all_views: Sequence[int] = (CORNER[0],),
    doses: Sequence[str] = (CORNER[1],),
    *,
    choose: bool = False,
) -> str:
    """The page; by default a part that takes one core a minute."""
    torch.set_num_threads(1)
    strengths: dict[str, Mapping[str, float]] = {
        region: chosen_strengths(case_of(region, 1000, voxel_mm, height_mm)) if choose else USUAL
        for region in regions
    }
    found: Found = {}
    for region, seed in itertools.product(regions, range(seeds)):
        case = case_of(region, seed, voxel_mm, height_mm)
        for views, dose in itertools.product(all_views, doses):
            sinogram = measured(case, views, DOSES[dose])
            for name, settings in METHODS.items():
                weight = strengths[region].get(name, 0.0)
                row = scores(case, replace(settings, weight=weight), sinogram)
                found.setdefault((views, dose, name), []).append(row)
                sys.stderr.write(f"{case.name}, {views} views, {dose}, {name}: {row}\n")
    prose = [*_setting(regions, seeds, (voxel_mm, height_mm), strengths), _best_prior(found)]
    return "\n\n".join([*prose, *_tables(found, all_views, doses)])


def _setting(
    regions: Sequence[str],
    seeds: int,
    sizes_mm: tuple[float, float],
    strengths: Mapping[str, Mapping[str, float]],
) -> list[str]:
    listed = "; ".join(
        f"{region}: " + ", ".join(f"{name} {value:g}" for name, value in each.items())
        for region, each in strengths.items()
    )
    return [
        f"Digital patients ({', '.join(regions)}; {seeds} of each), the middle {sizes_mm[1]:g} mm "
        f"in voxels of {sizes_mm[0]:g} mm; {PHOTONS_PER_MM2:g} photons per mm^2 and view in the "
        f"open beam at full dose ({PHOTONS_PER_MM2 * sizes_mm[0] ** 2:.2g} per pixel: with large "
        "voxels, dose has little effect); a polychromatic beam corrected for water; no scatter. "
        "The body is projected in voxels of 3/4 that size, by another projector than the one of "
        "the reconstruction; the detector is as large as in the demo. FDK has the filter of the "
        "simulated scanner (Hann, cut-off at twice Nyquist). The smooth FDK, from which the "
        "iterative methods start, has its cut-off at Nyquist. Errors are inside the body and the "
        "field of view, against the true CT [HU]; bone is above 300 HU. SSIM has windows of 5 "
        "voxels and a range of 2500 HU. Seconds are those of one processor core.",
        f"Strengths, the same in all rows: {listed}. With `--choose` they are the better of two "
        f"on another patient of the region, at {CORNER[0]} views and {CORNER[1]} of the dose.",
        "`python -m benchmarks.reconstruction --regions head-neck thorax abdomen --seeds 10 "
        "--voxel 4 --height 176 --views 360 120 60 30 --doses 1 1/4 1/10 --choose` runs the whole "
        "comparison, which takes many hours.",
    ]


def _mean(rows: Sequence[Mapping[str, float]], key: str) -> float:
    return float(np.mean([row[key] for row in rows]))


def _best_prior(found: Found) -> str:
    views, dose = CORNER
    fdk = _mean(found[views, dose, "FDK"], "rmse")
    name, best = min(
        ((name, _mean(found[views, dose, name], "rmse")) for name in STRENGTHS),
        key=lambda pair: pair[1],
    )
    return (
        f"At {views} views and {dose} of the dose, the best prior ({name}) reduces FDK's error by "
        f"{1 - best / fdk:.0%} (RMSE {fdk:.0f} to {best:.0f} HU)."
    )


def _tables(found: Found, all_views: Sequence[int], doses: Sequence[str]) -> list[str]:
    parts = []
    for views in all_views:
        lines = [
            f"## {views} views",
            "",
            "| dose | method | RMSE | below FDK's | SSIM | bone | soft tissue | s |",
            "|---|---|---|---|---|---|---|---|",
        ]
        for dose, name in itertools.product(doses, METHODS):
            rows = found[views, dose, name]
            rmse, fdk = _mean(rows, "rmse"), _mean(found[views, dose, "FDK"], "rmse")
            lines.append(
                f"| {dose} | {name} | {rmse:.0f} | {1 - rmse / fdk:+.0%} | "
                f"{_mean(rows, 'ssim'):.3f} | {_mean(rows, 'bone'):.0f} | "
                f"{_mean(rows, 'soft'):.0f} | {_mean(rows, 'seconds'):.1f} |"
            )
        parts.append("\n".join(lines))
    return parts


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.reconstruction", description=__doc__
    )
    parser.add_argument("--regions", nargs="+", default=["head-neck", "thorax", "abdomen"])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--voxel", type=float, default=4.0)
    parser.add_argument("--height", type=float, default=176.0)
    parser.add_argument("--views", nargs="+", type=int, default=[360, 120, 60, 30])
    parser.add_argument("--doses", nargs="+", choices=DOSES, default=list(DOSES))
    parser.add_argument("--choose", action="store_true")
    given = parser.parse_args()
    page = measure(
        given.regions, given.seeds, given.voxel, given.height, given.views, given.doses,
        choose=given.choose,
    )  # fmt: skip
    print(page)
