"""Simulated cone-beam scanners with random parameters: calibration without a CT."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks._cbct_scanners_cases import (
    BEFORE,
    FOLDER,
    KINDS,
    TEST,
    TRAIN,
    case_names,
    make_digital,
    make_real,
    mask_of,
    pair_of,
)
from benchmarks.ingestion_real import shared_data
from synthct.data.store.volumes import read_volume
from synthct.tasks.evaluation.statistics.paired import (
    difference_of_means,
    paired_bootstrap,
    ratio_of_means,
)
from synthct.tasks.models.calibration import calibrate

METHODS = {
    "raw": "CBCT itself",
    "linear": "line fitted on the training scanners",
    "own_line": "line fitted on the pair itself",
    "two_point": "`two_point`",
}
REAL = ("STS_004", "STS_006")
BINS_HU = (200, 400, 600, 900, 1300)
"""Edges of the bins of the response to bone [HU of the CT]."""

Scores = Mapping[str, Mapping[str, float]]


def measure() -> str:
    """Make the scans and score the calibrations; the page."""
    torch.set_num_threads(1)
    for _ in make_digital(FOLDER):
        pass
    line = fitted_line([pair_of(case) for case in case_names(TRAIN)])
    scores = {case: calibrated(case, line) for case in case_names(TEST)}
    setting = (
        "Slabs of 40 mm of digital heads at 2 x 1.5 x 1.5 mm, scanned by simulated scanners whose "
        "parameters are random: scatter, beam, corrections for water and bone, bow-tie, filter, "
        "noise, full or half fan, field of view, fill value, gain and offset "
        f"(`data/phantom/scanners.py`). Each of {len(TEST)} slabs is scanned once with parameters "
        "within the ranges of training and once with *every* parameter beyond them. `two_point` "
        "calibrates a scan from its own air and soft tissue. The line of the baseline `linear` is "
        f"fitted to {len(TRAIN)} other slabs with two scanners each, within the ranges; the line "
        "fitted on the pair itself needs the true CT. CT and CBCT are exact pairs. MAE [HU] inside "
        "body and field of view."
    )
    return "\n\n".join(
        [setting, table(scores, METHODS), _claims(scores), _responses(), _real(line)]
    )


def fitted_line(pairs: Sequence[tuple[NDArray[np.float64], ...]]) -> NDArray[np.float64]:
    """Slope and intercept of the least squares of CT against CBCT."""
    x, y = (np.concatenate(part) for part in zip(*pairs, strict=True))
    return np.polyfit(x, y, 1)


def calibrated(case: str, line: NDArray[np.float64]) -> dict[str, float]:
    """MAE [HU] of each calibration."""
    source, _, mask = (read_volume(FOLDER / case / f"{kind}.zarr").array for kind in KINDS)
    shown, ct = pair_of(case)
    blind = calibrate(source, mask).hu(source[mask > 0])
    found = {
        "raw": shown,
        "linear": np.polyval(line, shown),
        "own_line": np.polyval(fitted_line([(shown, ct)]), shown),
        "two_point": np.clip(blind, -1024, 3071),
    }
    return {name: float(np.abs(found[name] - ct).mean()) for name in METHODS}


def split(scores: Scores, method: str, scan: int) -> NDArray[np.float64]:
    """Scores of the test slabs through the scanner within the ranges (0) or beyond them (1)."""
    return np.array([scores[f"{slab.name}_{scan}"][method] for slab in TEST])


def table(scores: Scores, methods: Mapping[str, str]) -> str:
    """Mean MAE by method and kind of scanner."""
    rows = ["| method | within the ranges | beyond them | worst slab |", "|---|---|---|---|"]
    for method, name in methods.items():
        usual, beyond = (split(scores, method, scan) for scan in (0, 1))
        worst = max(usual.max(), beyond.max())
        rows.append(f"| {name} | {usual.mean():.1f} | {beyond.mean():.1f} | {worst:.1f} |")
    return "\n".join(rows)


def gap(scores: Scores, first: str, second: str, scan: int) -> str:
    """Paired difference with its interval [HU]."""
    rng = np.random.default_rng(0)
    found = paired_bootstrap(
        split(scores, first, scan), split(scores, second, scan), difference_of_means, rng
    )
    return f"{found.value:+.1f} HU [{found.low:+.1f}, {found.high:+.1f}]"


def loss(scores: Scores, method: str) -> str:
    """Error beyond the ranges over the error within them, with its interval."""
    rng = np.random.default_rng(0)
    found = paired_bootstrap(
        split(scores, method, 1), split(scores, method, 0), ratio_of_means, rng
    )
    return f"{found.value:.2f} [{found.low:.2f}, {found.high:.2f}]"


def _claims(scores: Scores) -> str:
    lines = ["Paired over the slabs, with 95 % bootstrap intervals (rough, from few slabs):", ""]
    lines += [
        f"* {where}: `two_point` minus {METHODS[other]}: {gap(scores, 'two_point', other, scan)}"
        for scan, where in enumerate(("within the ranges", "beyond them"))
        for other in ("raw", "linear", "own_line")
    ]
    lines += [
        f"* {METHODS[method]}: error beyond the ranges over error within them "
        f"{loss(scores, method)}"
        for method in METHODS
    ]
    return "\n".join(lines)


def real_scans() -> list[Path]:
    """CTs of patients among the shared scans, if there are any: an abdomen and two limbs."""
    found = [shared_data() / "small_ct_mr" / "example_ct.nii.gz"]
    found += [shared_data() / "sts51" / name / "CT.nii.gz" for name in REAL]
    return [path for path in found if path.is_file()]


def _real(line: NDArray[np.float64]) -> str:
    scores = {name: calibrated(f"{name}_0", line) for name in make_real(FOLDER, real_scans())}
    if not scores:
        return "Real CTs were not measured: `SYNTHCT_SHARED_DATA` did not name the shared scans."
    rows = ["| scan | " + " | ".join(METHODS.values()) + " |", "|---|" + "---|" * len(METHODS)]
    for case, found in scores.items():
        rows.append(f"| {case} | " + " | ".join(f"{found[name]:.1f}" for name in METHODS) + " |")
    return (
        "Middle slabs of real CTs (an abdomen and two limbs), projected and reconstructed by "
        "simulated scanners beyond the ranges. The anatomy is real, the cone beam is "
        "simulated.\n\n" + "\n".join(rows)
    )


def _responses() -> str:
    """Contrast of bone to soft tissue after ``two_point``, relative to the CT, by CT number."""
    bins = " | ".join(f"{low} to {high}" for low, high in itertools.pairwise(BINS_HU))
    rows = [f"| CT number | {bins} |", "|---|" + "---|" * (len(BINS_HU) - 1)]
    kinds = {"one scanner for all": BEFORE, "scanners of the training slabs": TRAIN}
    for kind, slabs in kinds.items():
        curves = np.array([_response(case) for case in case_names(slabs)])
        low, middle, high = np.nanpercentile(curves, (0, 50, 100), axis=0)
        cells = [
            f"{m:.2f}" if len(curves) == 1 else f"{m:.2f} ({a:.2f} to {b:.2f})"
            for a, m, b in zip(low, middle, high, strict=True)
        ]
        rows.append(f"| {kind} | " + " | ".join(cells) + " |")
    return (
        "Response to bone: contrast to soft tissue after `two_point`, relative to the CT, by CT "
        "number [HU]; the median over the voxels of a scan, then the median, lowest and highest "
        "over scans. A real head-and-neck scan showed about 0.73 at all CT numbers.\n\n"
        + "\n".join(rows)
    )


def _response(case: str) -> list[float]:
    source, ct, mask = (read_volume(FOLDER / case / f"{kind}.zarr").array for kind in KINDS)
    inside = mask_of(mask)
    hu = calibrate(source, mask).hu(source[inside])
    ratio = (hu - 40) / np.maximum(ct[inside] - 40.0, 1)
    place = np.digitize(ct[inside], BINS_HU)
    return [
        float(np.median(ratio[place == k])) if np.any(place == k) else float("nan")
        for k in range(1, len(BINS_HU))
    ]
