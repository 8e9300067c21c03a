"""Score two files: what ``synthct evaluate`` does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.faults import DataFault
from data.files import canonical_json, content_hash, write_whole
from data.itk import resample as resampled
from data.readers import read_scan
from data.volume import Grid, Modality, Volume
from tasks.evaluation.metrics import METRICS
from tasks.evaluation.pair import Mask, Measured, masked_pair
from tasks.evaluation.profiles import DEFAULT_PROFILE, OUTSIDE_HU, profile_called
from tasks.evaluation.structures import Policy, compare_structures

SCHEMA = "synthct-evaluation/1"
"""Version of the document: fields are added without changing it, never renamed or removed.

``schema``; ``prediction``, ``reference``, ``mask`` (name and sha256 of each file); ``profile``
(name, low_hu, high_hu); ``grid`` (shape, spacing_mm of the reference); ``resampled`` (whether the
prediction was); ``voxels`` (in the mask); ``scores`` (metric -> number or null); ``structures``
(policy, scores) when segmentations were given; ``warnings``.
"""

METRIC_NAMES = ("mae_hu", "me_hu", "psnr_db", "ms_ssim", "ssim_2023", "hu_bands")

LEAST_SPREAD_HU = 20.0
"""Inside a body HU differ by more than this; images scaled to [0, 1] or z-scores do not."""


def evaluate_files(
    prediction: Path,
    reference: Path,
    mask: Path | None = None,
    segmentations: Path | None = None,
    profile: str = DEFAULT_PROFILE,
    json_file: Path | None = None,
    *,
    resample: bool = False,
    policy: Policy = "penalised",
    metrics: Sequence[str] = METRIC_NAMES,
) -> dict[str, Any]:
    """Compare a synthetic CT with a reference CT inside a mask; the document, also as a file.

    Parameters
    ----------
    prediction, reference
        CT scans [HU] of any readable format.
    mask
        Voxels > 0 count; none: all voxels.
    segmentations
        Folder with ``prediction/NAME.*`` and ``reference/NAME.*``, one binary mask a structure.
    json_file
        Where to write the document, whole or not at all.
    resample
        Bring prediction and masks onto the reference's grid (linear, nearest) when they lie on
        another; without it another grid is a fault, because resampling changes every score.
    policy
        What the HD95 of a structure is that the prediction lacks.
    """
    chosen = profile_called(profile, where="profile")
    truth = read_scan(reference, Modality.CT)
    sct, moved = _on_grid(read_scan(prediction, Modality.CT), truth.grid, prediction, resample)
    inside = _inside(mask, truth.grid, resample)
    for path, volume in ((prediction, sct), (reference, truth)):
        require_hu(volume.array[inside], path)
    spacing_mm = truth.grid.spacing_mm
    pair = masked_pair(truth.array, sct.array, inside, profile=chosen, spacing_mm=spacing_mm)
    measured = [METRICS.build(name, {}, where="metrics")(pair) for name in metrics]
    document: dict[str, Any] = {
        "schema": SCHEMA,
        "prediction": _identity(prediction),
        "reference": _identity(reference),
        "mask": _identity(mask) if mask else None,
        "profile": chosen.as_json(),
        "grid": {"shape": list(truth.grid.shape), "spacing_mm": list(spacing_mm)},
        "resampled": moved,
        "voxels": int(inside.sum()),
        "scores": {name: value for one in measured for name, value in one.values.items()},
        "warnings": [text for one in measured for text in one.warnings],
    }
    if segmentations is not None:
        found = _structures(segmentations, truth.grid, inside, policy, resample)
        document["structures"] = {"policy": policy, "scores": dict(found.values)}
        document["warnings"] += found.warnings
    if json_file is not None:
        write_whole(json_file, canonical_json(document))
    return document


def require_hu(values: NDArray[Any], path: Path) -> None:
    """Raise unless the values inside the mask can be HU of a body: spread out, and fat below 0."""
    low, high = float(values.min()), float(values.max())
    if high - low > LEAST_SPREAD_HU and low < 0:
        return
    raise DataFault(
        "a CT is in Hounsfield units: inside the body it has values below 0 and a spread of more "
        f"than {LEAST_SPREAD_HU:g}",
        where=str(path),
        got=f"{low:g} to {high:g} inside the mask",
        remedy="apply the rescale slope and intercept, or undo the network's normalisation",
        code="not-hu",
    )


def _on_grid(volume: Volume, grid: Grid, path: Path, resample: bool) -> tuple[Volume, bool]:
    if volume.grid.is_close(grid):
        return volume, False
    if not resample:
        raise DataFault(
            "prediction, reference and masks lie on one grid",
            where=str(path),
            got=f"{_told(volume.grid)}, the reference {_told(grid)}",
            remedy="give --resample, which changes the scores, or export it on that grid",
            code="grid-mismatch",
        )
    nearest = volume.modality is Modality.MASK
    outside = 0.0 if nearest else OUTSIDE_HU
    return resampled(volume, grid, outside=outside, nearest=nearest), True


def _told(grid: Grid) -> str:
    spacing = " x ".join(f"{v:g}" for v in grid.spacing_mm)
    origin = ", ".join(f"{v:g}" for v in grid.origin_mm)
    return f"{grid.shape} of {spacing} mm from ({origin})"


def _inside(path: Path | None, grid: Grid, resample: bool) -> Mask:
    if path is None:
        return np.ones(grid.shape, bool)
    inside = _mask(path, grid, resample)
    if not inside.any():
        raise DataFault(
            "the mask holds at least one voxel of the reference",
            where=str(path),
            got="an empty mask",
            remedy="check that the mask belongs to this scan",
            code="mask-empty",
        )
    return inside


def _structures(folder: Path, grid: Grid, inside: Mask, policy: Policy, resample: bool) -> Measured:
    sides = {
        side: _masks(folder / side, grid, inside, resample) for side in ("reference", "prediction")
    }
    return compare_structures(
        sides["reference"], sides["prediction"], spacing_mm=grid.spacing_mm, policy=policy
    )


def _masks(folder: Path, grid: Grid, inside: Mask, resample: bool) -> Mapping[str, Mask]:
    if not folder.is_dir():
        raise DataFault(
            "segmentations are a folder with prediction/NAME.* and reference/NAME.*",
            where=str(folder),
            got="no folder",
            code="segmentations-missing",
        )
    return {
        path.name.split(".")[0]: _mask(path, grid, resample) & inside
        for path in sorted(folder.iterdir())
    }


def _mask(path: Path, grid: Grid, resample: bool) -> Mask:
    volume, _ = _on_grid(read_scan(path, Modality.MASK), grid, path, resample)
    return np.asarray(volume.array > 0)


def _identity(path: Path) -> dict[str, str]:
    return {"name": path.name, "sha256": content_hash(path)}
