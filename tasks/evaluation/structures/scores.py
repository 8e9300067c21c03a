"""Structures of a synthetic CT against reference structures; a missing one is always scored.

The segmentation here is a plain HU threshold, not an anatomical one: it shows whether bone, lung
or gas is in the right place, not whether a rib is a rib. The result of the same threshold on the
true CT is reported with it as the ceiling.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from synthct.tasks.evaluation.pair import Mask, Measured
from synthct.tasks.evaluation.structures.overlap import (
    diagonal_mm,
    dice,
    hd95_mm,
    surface_dice,
    surface_distances_mm,
)

Policy = Literal["as_published", "penalised"]
Triple = tuple[float, float, float]


def by_threshold(
    hu: NDArray[Any], mask: Mask, rules: Mapping[str, Mapping[str, Any]]
) -> dict[str, Mask]:
    """Segment by HU: ``{structure: mask}``, each rule ``{"low_hu", "high_hu", ...}``."""
    return {
        name: mask & (hu >= rule["low_hu"]) & (hu < rule["high_hu"]) for name, rule in rules.items()
    }


def by_labels(
    labels: NDArray[Any],
    mask: Mask,
    rules: Mapping[str, Mapping[str, Any]],
    names: Mapping[str, Mapping[str, str]],
) -> dict[str, Mask]:
    """Group a label map: ``names`` is ``labels.json``, each rule lists its ``labels``."""
    return {
        name: mask
        & np.isin(
            labels,
            [int(v) for v, label in names.items() if label["structure"] in rule["labels"]],
        )
        for name, rule in rules.items()
    }


def compare_structures(
    reference: Mapping[str, Mask],
    prediction: Mapping[str, Mask],
    *,
    spacing_mm: Triple,
    policy: Policy = "penalised",
    surfaces: bool = True,
    tolerance_mm: float = 2.0,
) -> Measured:
    """Scores ``dice_NAME`` (and ``hd95_mm_NAME``, ``surface_dice_NAME``) by structure.

    Only structures present in the reference count. One that the prediction lacks has Dice 0 and
    surface Dice 0; its HD95 is dropped (``as_published``) or is the image's diagonal
    (``penalised``). One that only the prediction has gives a warning.
    """
    values: dict[str, float | None] = {}
    warnings: list[str] = []
    for name, truth in reference.items():
        found = prediction.get(name)
        found = np.zeros_like(truth) if found is None else found
        if not truth.any():
            if found.any():
                warnings.append(f"{name}: {int(found.sum())} voxels, none in the reference")
            continue
        values[f"dice_{name}"] = dice(truth, found)
        if not found.any():
            warnings.append(f"{name}: missing in the prediction")
        if surfaces:
            values |= _surface_scores(name, truth, found, spacing_mm, policy, tolerance_mm)
    return Measured(values, tuple(warnings))


def errors_within(
    reference_hu: NDArray[Any], prediction_hu: NDArray[Any], structures: Mapping[str, Mask]
) -> Measured:
    """``structure_mae_hu_NAME`` and ``structure_me_hu_NAME`` [HU] inside each true structure.

    Unlike the HU bands of a reference, true structures do not depend on the reference's alignment:
    the error of a blurred or misplaced bone is attributed to bone.
    """
    values: dict[str, float | None] = {}
    for name, inside in structures.items():
        if inside.any():
            error = prediction_hu[inside].astype(np.float64) - reference_hu[inside]
            values[f"structure_mae_hu_{name}"] = float(np.abs(error).mean())
            values[f"structure_me_hu_{name}"] = float(error.mean())
    return Measured(values)


def volumes(
    reference: Mapping[str, Mask], prediction: Mapping[str, Mask], *, spacing_mm: Triple
) -> Measured:
    """``volume_ml_NAME`` of the reference and ``volume_change_percent_NAME`` of the prediction.

    A structure that the prediction lacks has changed by -100 %.
    """
    voxel_ml = float(np.prod(spacing_mm)) / 1000
    values: dict[str, float | None] = {}
    for name, truth in reference.items():
        size = int(np.count_nonzero(truth))
        if size:
            found = int(np.count_nonzero(prediction[name])) if name in prediction else 0
            values[f"volume_ml_{name}"] = size * voxel_ml
            values[f"volume_change_percent_{name}"] = 100.0 * (found - size) / size
    return Measured(values)


def _surface_scores(
    name: str, truth: Mask, found: Mask, spacing_mm: Triple, policy: Policy, tolerance_mm: float
) -> dict[str, float | None]:
    if not found.any():
        lost = diagonal_mm(truth.shape, spacing_mm) if policy == "penalised" else None
        return {f"hd95_mm_{name}": lost, f"surface_dice_{name}": 0.0}
    distances = surface_distances_mm(truth, found, spacing_mm)
    return {
        f"hd95_mm_{name}": hd95_mm(distances),
        f"surface_dice_{name}": surface_dice(distances, tolerance_mm),
    }
