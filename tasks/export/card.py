"""The model card: card.json and card.html."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from synthct.tasks.export.calibration import calibration
from synthct.tasks.export.fold import ExportedFold
from synthct.tasks.export.parity import Parity

NOT_FOR_CLINICAL_USE = (
    "Not for clinical use: not a medical device, not cleared by any authority, not validated "
    "on the scanner, protocol and patients of whoever receives it."
)

REGISTRATION_CAVEAT = (
    "Scores against the registered CT hold the registration's error as well as the model's: "
    "SynthRAD2025's own CT moves by 53 to 60 HU (MAE) between two registration methods. Only "
    "scores against `truth` (digital patients) are free of it."
)

UNCERTAINTY_CAVEAT = (
    "The uncertainty map is the standard deviation over folds and flips: where the networks "
    "disagree. It does not show an error that all share; `uncertainty` says how the part of it "
    "that could be measured relates to the error."
)

CHECKSUM_CAVEAT = (
    "Checksums in this folder stop accidents, not a forger, who writes new ones: check the "
    "signature (`synthct verify --public-key`) where it matters who made the release."
)


def make_card(
    source: str, folds: Sequence[ExportedFold], facts: Mapping[str, Any], *, cleared_for: str = ""
) -> dict[str, Any]:
    """The card of one source's ensemble.

    Parameters
    ----------
    folds
        The networks as they were written, with what was measured on them.
    facts
        What the stage gathered: ``intended_use dataset cases gate scores methods provenance
        formats``.
    cleared_for
        Who cleared it for clinical use, and for what; empty: it says that nobody did.
    """
    dataset = facts["dataset"]
    parities = [parity for fold in folds for parity in fold.parities.values()]
    return {
        "format": 1,
        "name": f"synthct {source} to synthetic CT",
        "source": source,
        "intended_use": facts["intended_use"],
        "not_for_clinical_use": "" if cleared_for else NOT_FOR_CLINICAL_USE,
        "cleared_for": cleared_for,
        "data": _data(dataset, facts["cases"]),
        "licence": _licence(dataset),
        "folds": [_fold(fold) for fold in folds],
        "regularizers": _distinct(fold.model.regularizers for fold in folds),
        "parity": Parity.worst(parities).as_json(),
        "uncertainty": calibration([fold.spread for fold in folds if fold.spread is not None]),
        "gate": facts["gate"],
        "scores": facts["scores"],
        "caveats": [
            *_cohort_caveats(facts), REGISTRATION_CAVEAT, UNCERTAINTY_CAVEAT, CHECKSUM_CAVEAT,
        ],
        "methods": facts["methods"],
        "provenance": facts["provenance"],
        "formats": facts["formats"],
    }  # fmt: skip


def _data(dataset: Mapping[str, Any], cases: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Counts, never names: who the patients are stays in the pipeline."""
    return {
        "dataset": dataset.get("dataset", ""),
        "synthetic": all(case.get("synthetic", False) for case in cases),
        "patients": len({case["patient"] for case in cases}),
        "cases": len(cases),
        "regions": dict(sorted(Counter(case["region"] for case in cases).items())),
        "registration_verdicts": dict(sorted(Counter(case["verdict"] for case in cases).items())),
        "registration_methods": sorted({str(case["method"]) for case in cases}),
    }


def _licence(dataset: Mapping[str, Any]) -> dict[str, Any]:
    """The data's licence propagates to what was learned from them."""
    licence = dict(dataset.get("licence") or {})
    if not licence:
        licence = {"name": "unknown", "url": "", "cite": "", "non_commercial": True}
    obligation = (
        "The training data forbid commercial use: so does this card for the weights."
        if licence.get("non_commercial")
        else "The training data's terms, attribution included, go with the weights."
    )
    return {"of_the_data": licence, "propagates": obligation}


def _fold(fold: ExportedFold) -> dict[str, Any]:
    model = fold.model
    told: dict[str, Any] = {
        "fold": model.fold,
        "network": model.network,
        "precision": model.precision,
        "train_cases": len(model.train_cases),
        "validation_cases": len(model.validation_cases),
        "test_cases": len(model.test_cases),
        "validation_mae_hu": model.validation_mae_hu,
        "parity": {form: parity.as_json() for form, parity in sorted(fold.parities.items())},
    }
    if fold.int8 is not None:
        told["int8"] = {**fold.int8.as_json(), "released": fold.member.int8 is not None}
    return told


def _distinct(lists: Any) -> list[Any]:
    found: list[Any] = []
    for entry in (entry for entries in lists for entry in entries):
        if entry not in found:
            found.append(entry)
    return found


def _cohort_caveats(facts: Mapping[str, Any]) -> list[str]:
    cases = facts["cases"]
    caveats = []
    if any(case.get("synthetic", False) for case in cases):
        caveats.append(
            "Trained on digital patients: it shows that the chain works and says nothing about "
            "real scans."
        )
    patients = len({case["patient"] for case in cases})
    if patients < SMALL_COHORT:
        caveats.append(
            f"{patients} patients prove the path, not the accuracy: the scores' spread between "
            "patients is not known from so few."
        )
    return caveats


SMALL_COHORT = 20
"""Patients below which the card says that the scores prove little."""


PAGE = "card.html"


def render_card(card: Mapping[str, Any]) -> str:
    """The card as one HTML page."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["said"] = said
    scores = [row for row in card["scores"] if row["metric"] in SHOWN]
    return environment.get_template("card.html.j2").render(card=card, scores=scores)


SHOWN = ("mae_hu", "me_hu", "psnr_db", "ms_ssim")
"""Metrics of the page's table; ``card.json`` has all."""


def said(value: Any) -> str:
    """A value of the card as words."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None or value in ("", [], {}):
        return "none"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {said(inner)}" for key, inner in value.items())
    if isinstance(value, list | tuple):
        return "; ".join(said(inner) for inner in value)
    return str(value)
