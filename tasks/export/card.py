"""The model card: card.json and card.html."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from synthct.tasks.export.calibration import calibration
from synthct.tasks.export.card_chart import error_chart
from synthct.tasks.export.fold import ExportedFold
from synthct.tasks.export.parity import Parity
from synthct.tasks.figures.templates import templates

NOT_FOR_CLINICAL_USE = (
    "Not for clinical use: not a medical device, not cleared by any authority, not validated "
    "on the scanner, protocol and patients of the recipient."
)

REGISTRATION_CAVEAT = (
    "Scores against the registered CT include the error of the registration: SynthRAD2025's own "
    "CT differs by 53 to 60 HU (MAE) between two registration methods. Only scores against "
    "`truth` (digital patients) are free of it."
)

UNCERTAINTY_CAVEAT = (
    "The uncertainty map is the standard deviation over folds and flips, which shows where the "
    "networks disagree. It does not show errors that all of them share; `uncertainty` compares "
    "the measurable part of it with the error."
)

CHECKSUM_CAVEAT = (
    "The checksums in this folder detect accidental damage, not forgery: verify the signature "
    "(`synthct verify --public-key`) if the origin of the release matters."
)


def make_card(
    source: str,
    folds: Sequence[ExportedFold],
    facts: Mapping[str, Any],
    *,
    cleared_for: str = "",
    refusal: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """The card of one source's ensemble.

    Parameters
    ----------
    folds
        The exported networks, with the measurements on them.
    facts
        Facts gathered by the stage: ``intended_use dataset cases gate scores methods provenance
        formats``.
    cleared_for
        Who cleared it for clinical use, and for what; empty: the card says "not for clinical use".
    refusal
        The gate's error, if this is a demonstration of a model that it refused.
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
        "demonstration_only": "" if refusal is None else refusal["problem"],
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
    """Counts only: names of patients stay in the pipeline."""
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
    """The licence of the training data, and its consequence for the weights."""
    licence = dict(dataset.get("licence") or {})
    if not licence:
        licence = {"name": "unknown", "url": "", "cite": "", "non_commercial": True}
    obligation = (
        "The training data may not be used commercially, and neither may the weights."
        if licence.get("non_commercial")
        else "The terms of the training data, including attribution, apply to the weights."
    )
    return {"of_the_data": licence, "propagates": obligation}


def _fold(fold: ExportedFold) -> dict[str, Any]:
    model = fold.model
    entry: dict[str, Any] = {
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
        entry["int8"] = {**fold.int8.as_json(), "released": fold.member.int8 is not None}
    if fold.forms:
        entry["forms"] = {name: form.cost.as_json() for name, form in sorted(fold.forms.items())}
    return entry


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
            "Trained on digital patients: this shows that the pipeline works, and says nothing "
            "about real scans."
        )
    patients = len({case["patient"] for case in cases})
    if patients < SMALL_COHORT:
        caveats.append(
            f"{patients} patients demonstrate the method, not its accuracy: the variation between "
            "patients cannot be estimated from so few."
        )
    return caveats


SMALL_COHORT = 20
"""Number of patients below which the card has a caveat about it."""


def render_card(card: Mapping[str, Any]) -> str:
    """The card as one HTML page."""
    environment = templates(Path(__file__).parent)
    environment.filters["as_text"] = as_text
    scores = [row for row in card["scores"] if row["metric"] in SHOWN]
    chart = Markup(error_chart(card["scores"], card["gate"].get("reference", "registered")))
    return environment.get_template("card.html.j2").render(card=card, scores=scores, chart=chart)


SHOWN = ("mae_hu", "me_hu", "psnr_db", "ms_ssim")
"""Metrics in the table of ``card.html``; ``card.json`` has all."""


def as_text(value: Any) -> str:
    """A value of the card as text."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None or value in ("", [], {}):
        return "none"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {as_text(inner)}" for key, inner in value.items())
    if isinstance(value, list | tuple):
        return "; ".join(as_text(inner) for inner in value)
    return str(value)
