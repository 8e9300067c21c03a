"""Two supplied dose distributions, one planned on each CT: gamma, DVH figures, conformity."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synthct.data.errors import UsageError
from synthct.data.readers import read_scan
from synthct.data.volume import Modality
from synthct.tasks.evaluation.dose.gamma import CRITERIA, Convention, pass_percent
from synthct.tasks.evaluation.inputs import Target, identity
from synthct.tasks.evaluation.pair import Floats, Mask


@dataclass(frozen=True)
class Doses:
    """What is compared and how.

    Parameters
    ----------
    reference, prediction
        RTDOSE files, or images in Gy, planned on each CT.
    convention
        How the gamma index is computed.
    target, prescription_gy
        Structure of the reference and prescribed dose [Gy] for conformity; empty: not computed.
    """

    reference: Path
    prediction: Path
    convention: Convention
    target: str = ""
    prescription_gy: float = 0.0


def compare_doses(
    doses: Doses, grid: Target, inside: Mask, structures: Mapping[str, Mask] | None
) -> tuple[dict[str, Any], list[str]]:
    """The part ``dose`` of the document, and its warnings.

    Parameters
    ----------
    grid, inside
        Grid of the reference CT and the mask (Z, Y, X) on it.
    structures
        Structures of the reference, cut to the mask; None: no DVH figures and no conformity.

    Raises
    ------
    DataError
        A file is not a dose, or lies on another grid.
    UsageError
        The target is not one of the structures.
    """
    sides, warnings = _read(doses, grid, inside)
    gamma = {
        f"{percent:g}%/{distance:g}mm": pass_percent(
            sides["reference"], sides["prediction"], grid.grid.spacing_mm, inside,
            dose_percent=percent, distance_mm=distance, convention=doses.convention,
        )
        for percent, distance in CRITERIA
    }  # fmt: skip
    result: dict[str, Any] = {
        "prediction": identity(doses.prediction),
        "reference": identity(doses.reference),
        "gamma_pass_percent": gamma,
        "gamma_convention": doses.convention.as_json(),
    }
    if None in gamma.values():
        warnings.append(
            f"gamma: no voxel of the mask reaches {doses.convention.cutoff_percent:g} % of the "
            "reference's maximum dose; there is nothing to judge"
        )
    if structures is not None:
        result["dvh"] = {side: dvh_figures(dose, structures) for side, dose in sides.items()}
        if doses.target:
            result["conformity"] = _conformity(sides, structures, doses)
    return result, warnings


def _read(doses: Doses, grid: Target, inside: Mask) -> tuple[dict[str, Floats], list[str]]:
    sides: dict[str, Floats] = {}
    warnings: list[str] = []
    for side, path in (("reference", doses.reference), ("prediction", doses.prediction)):
        raw = read_scan(path, Modality.DOSE)
        warnings += grid.cropped(raw, path, inside)
        sides[side] = grid.dose(raw, path)
    return sides, warnings


def _conformity(
    sides: Mapping[str, Floats], structures: Mapping[str, Mask], doses: Doses
) -> dict[str, float | None]:
    if doses.target not in structures:
        raise UsageError(
            f"no structure of the reference is called {doses.target!r}",
            rule="a target is one of the reference's structures",
            where="--target",
            remedy=f"choose one of: {', '.join(sorted(structures))}",
            code="unknown-structure",
        )
    target = structures[doses.target]
    return {side: conformity(dose, target, doses.prescription_gy) for side, dose in sides.items()}


def dose_at_volume_gy(dose_gy: NDArray[Any], percent: float) -> float:
    """D_p: the least dose of the hottest p % of the voxels [Gy] (D98 near-minimum, D2 near-max)."""
    return float(np.percentile(dose_gy, 100 - percent))


def dvh_figures(dose_gy: Floats, structures: Mapping[str, Mask]) -> dict[str, dict[str, float]]:
    """``{structure: {d98_gy, d2_gy, mean_gy}}`` of every structure that has voxels."""
    return {
        name: {
            "d98_gy": dose_at_volume_gy(dose_gy[inside], 98),
            "d2_gy": dose_at_volume_gy(dose_gy[inside], 2),
            "mean_gy": float(dose_gy[inside].mean()),
        }
        for name, inside in structures.items()
        if inside.any()
    }


def conformity(dose_gy: Floats, target: Mask, prescription_gy: float) -> float | None:
    r"""Paddick's conformity :math:`TV_{PI}^2 / (TV \cdot PI)`; none where nothing is covered.

    References
    ----------
    Paddick, J Neurosurg 93 Suppl 3 (2000) 219-222.
    """
    covered = dose_gy >= prescription_gy
    both = int(np.count_nonzero(covered & target))
    if not both:
        return None
    return both**2 / (int(np.count_nonzero(target)) * int(np.count_nonzero(covered)))
