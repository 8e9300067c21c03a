"""``calibration.json`` of a release, from the errors of patients that its networks had not seen."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from synthct.data.section import Section
from synthct.data.tables import six_digits
from synthct.tasks.evaluation.profiles import HU_BANDS
from synthct.tasks.evaluation.uncertainty.conformal import MIN_PATIENTS, calibrate
from synthct.tasks.evaluation.uncertainty.coverage import Coverage, held_out_coverage
from synthct.tasks.evaluation.uncertainty.histogram import ErrorCounts
from synthct.tasks.evaluation.uncertainty.recalibration import recalibrated
from synthct.tasks.pipeline.artefacts import ERRORS, TRUST
from synthct.tasks.prediction.intervals import ALL, CalibratedBand, Calibration

_ABSOLUTE, _SCALED = "absolute", "scaled"


class CalibrationPlan(Section):
    """Inputs of the half-widths; part of the unit's key."""

    nominal: float
    guarantee: Literal["mean", "risk_control"]
    reference: Literal["registered", "truth"]
    patients: list[str]
    """Patient of each file of errors, in their order; the names stay in the pipeline."""
    seed: int
    """Seed of the bootstrap over patients."""


def plan_calibration(
    evaluation: Path,
    source: str,
    cases: Sequence[str],
    reference: Literal["registered", "truth"],
    seed: int,
) -> tuple[CalibrationPlan, list[Path]] | None:
    """The plan and the files of errors of one source; None where the evaluation has no intervals.

    Parameters
    ----------
    evaluation
        Output of the evaluation stage.
    cases
        Test cases of all folds: each was predicted by a network that had not seen its patient.
    """
    if not (evaluation / TRUST).is_file():
        return None
    trust = json.loads((evaluation / TRUST).read_text())
    said = trust.get("uncertainty", {}).get(source, {}).get(reference)
    scored = [case for case in sorted(set(cases)) if (evaluation / case / ERRORS).is_file()]
    if said is None or not scored:
        return None
    patients = [case.rsplit("_", 1)[0] for case in scored]
    plan = CalibrationPlan(
        nominal=said["nominal"],
        guarantee=said["guarantee"],
        reference=reference,
        patients=patients,
        seed=seed,
    )
    return plan, [evaluation / case / ERRORS for case in scored]


def calibrated(plan: CalibrationPlan, errors: Sequence[Path]) -> Calibration | None:
    """Half-widths from all patients, and their coverage with each patient left out.

    None for fewer than five patients with a reference, which do not allow a statement on new ones.
    The errors are those of single networks. A release predicts the mean of all, whose mean absolute
    error is at most theirs on average (convexity), so its intervals tend to be too wide.
    """
    absolute: dict[str, list[ErrorCounts]] = {}
    scaled: list[ErrorCounts] = []
    for patient, file in zip(plan.patients, errors, strict=True):
        facts = json.loads(file.read_text()).get(plan.reference)
        if facts is None:
            continue
        absolute.setdefault(patient, []).append(ErrorCounts.from_json(facts[_ABSOLUTE]))
        if _SCALED in facts:
            scaled.append(ErrorCounts.from_json(facts[_SCALED]))
    if len(absolute) < MIN_PATIENTS:
        return None
    cases = [case for own in absolute.values() for case in own]
    widths = calibrate(cases, plan.nominal, guarantee=plan.guarantee)
    rng = np.random.default_rng(plan.seed)
    covered = held_out_coverage(absolute, plan.nominal, rng, guarantee=plan.guarantee)
    factor = dict(recalibrated(scaled, (plan.nominal,))) if scaled else {}
    bands = {
        name: _band(widths.get(name, widths[ALL]), ends, cases, covered.get(name), name)
        for name, ends in HU_BANDS.items()
    }
    whole = (HU_BANDS["air"][0], HU_BANDS["metal"][1])
    bands[ALL] = _band(widths[ALL], whole, cases, covered.get(ALL), "")
    return Calibration(
        nominal=plan.nominal,
        guarantee=plan.guarantee,
        reference=plan.reference,
        patients=len(absolute),
        cases=len(cases),
        spread_factor=factor.get(plan.nominal) or None,
        bands=bands,
    )


def _band(
    width: float,
    ends: tuple[float, float],
    cases: Sequence[ErrorCounts],
    covered: Coverage | None,
    name: str,
) -> CalibratedBand:
    """Calibration of one band; an empty ``name`` means all bands together."""
    number = sum(not name or name in case.bands for case in cases)
    return CalibratedBand(
        low_hu=ends[0],
        high_hu=ends[1],
        half_width_hu=six_digits(width) if math.isfinite(width) else None,
        cases=number,
        own=number >= MIN_PATIENTS,
        covered=None if covered is None else six_digits(covered.value),
        covered_low=_rounded(covered, "low"),
        covered_high=_rounded(covered, "high"),
    )


def _rounded(covered: Coverage | None, end: str) -> float | None:
    value = None if covered is None else getattr(covered, end)
    return None if value is None else six_digits(value)


def card_entry(calibration: Calibration | None) -> dict[str, Any]:
    """Entry ``intervals`` of the card: coverage reached on held-out patients, by tissue."""
    if calibration is None:
        return {}
    rows: Mapping[str, CalibratedBand] = calibration.bands
    return {
        "nominal": calibration.nominal,
        "guarantee": calibration.guarantee,
        "reference": calibration.reference,
        "patients": calibration.patients,
        "bands": {name: band.as_json() for name, band in rows.items() if band.cases},
    }
