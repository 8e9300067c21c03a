"""Two doses of files, one planned on each CT: gamma, dose-volume figures, conformity."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from synthct.data.errors import UsageError
from synthct.data.readers import read_scan
from synthct.data.volume import Modality
from synthct.tasks.evaluation.dose.compare import conformity, dvh_figures
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
        Of the gamma index.
    target, prescription_gy
        Structure of the reference and dose for conformity; empty: none.
    """

    reference: Path
    prediction: Path
    convention: Convention
    target: str = ""
    prescription_gy: float = 0.0


def compare_doses(
    doses: Doses, grid: Target, inside: Mask, structures: Mapping[str, Mask] | None
) -> tuple[dict[str, Any], list[str]]:
    """``dose`` of the document, and its warnings.

    ``structures`` are those of the reference's side, inside the mask; None: no figures of them.
    """
    sides, warnings = _read(doses, grid, inside)
    gamma = {
        f"{percent:g}%/{distance:g}mm": pass_percent(
            sides["reference"], sides["prediction"], grid.grid.spacing_mm, inside,
            dose_percent=percent, distance_mm=distance, convention=doses.convention,
        )
        for percent, distance in CRITERIA
    }  # fmt: skip
    told: dict[str, Any] = {
        "prediction": identity(doses.prediction),
        "reference": identity(doses.reference),
        "gamma_pass_percent": gamma,
        "gamma_convention": doses.convention.as_json(),
    }
    if None in gamma.values():
        warnings.append(
            f"gamma: no voxel of the mask reaches {doses.convention.cutoff_percent:g} % of the "
            "reference's maximum dose: there is nothing to judge"
        )
    if structures is not None:
        told["dvh"] = {side: dvh_figures(dose, structures) for side, dose in sides.items()}
        if doses.target:
            told["conformity"] = _conformity(sides, structures, doses)
    return told, warnings


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
            "a target is one of the reference's structures",
            problem=f"no structure of the reference is called {doses.target!r}",
            where="--target",
            remedy=f"there are: {', '.join(sorted(structures))}",
            code="unknown-structure",
        )
    target = structures[doses.target]
    return {side: conformity(dose, target, doses.prescription_gy) for side, dose in sides.items()}
