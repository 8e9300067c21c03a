"""The first section: kind of cohort, main scores and their limits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from synthct.tasks.figures.names import method_name, reference_name, source_name
from synthct.tasks.figures.numbers import digits_for, fixed, mean_sd, plural, without_folders
from synthct.tasks.report.reading import Chain
from synthct.tasks.report.views.scores import (
    MAE,
    pick,
    references_of,
    sources_of,
    values,
)
from synthct.tasks.training.comparison import badly_trained

FEW_PATIENTS = 5
"""Number of ingested patients below which the page says that they are too few."""


@dataclass(frozen=True)
class MainScore:
    """Main score of one source: the model's MAE and that of the best baseline.

    ``good`` is False if the model does not beat the baseline or is not released; ``state`` and
    ``verdict`` say whether it is, ``suspects`` what the checks found.
    """

    source: str
    text: str
    against: str
    patients: int
    beside: str
    good: bool
    state: str
    verdict: str
    suspects: str


@dataclass(frozen=True)
class Headline:
    """Kind of cohort, the main caveat, further sentences, and the main scores."""

    kind: str
    caveat: str
    sentences: Sequence[str]
    scores: Sequence[MainScore]


def headline(chain: Chain) -> Headline:
    """The first section of the page."""
    scored = {score.patient for score in chain.scores}
    return Headline(
        kind=_kind(chain),
        caveat=_caveat(chain, len(scored or chain.patients)),
        sentences=_sentences(chain, len(scored)),
        scores=[main for source in sources_of(chain.scores) if (main := _main(chain, source))],
    )


def _kind(chain: Chain) -> str:
    count = len(chain.patients)
    regions = sorted({str(p.get("region", "")) for p in chain.patients.values()} - {""})
    people = "digital " if chain.synthetic else ""  # who was ingested may be either
    name = chain.dataset.get("dataset", "")
    text = f"{count} {people}{plural('patient', count)}"
    text += f" of the data set “{name}”" if name else ""
    return text + (f" ({', '.join(regions)})" if regions else "")


def _caveat(chain: Chain, patients: int) -> str:
    if chain.synthetic:
        return (
            "Digital patients with a known truth: the scores show that the pipeline works, and "
            "allow a fair comparison of methods; they say nothing about accuracy in people."
        )
    if patients < FEW_PATIENTS:
        verb = "demonstrates" if patients == 1 else "demonstrate"
        return f"{patients} {plural('patient', patients)} {verb} the method, not its accuracy."
    return (
        f"{patients} patients of one data set: the scores apply to unseen patients like these, "
        "scanned like these; no scans from other sources were tested."
    )


def _sentences(chain: Chain, scored: int) -> list[str]:
    if not chain.scores:
        return ["Nothing has been scored in this workspace yet."]
    sentences = [
        f"Every score is of a patient unseen by the network ({scored} "
        f"{plural('patient', scored)}, {_folds(chain)}), over the voxels of the body that "
        "both scans cover."
    ]
    if "truth" in references_of(chain.scores):
        sentences.append(
            "The registered CT is the reference that a clinic has; the true CT, which only "
            "digital patients have, shows how much of a score is due to the registration."
        )
    else:
        sentences.append(
            "The reference is a CT registered to the source scan: any residual misalignment is "
            "part of every score and cannot be separated from the model’s error."
        )
    return [*sentences, *(f"{found}." for found in badly_trained(chain.histories))]


def _folds(chain: Chain) -> str:
    count = max((len(folds) for folds in chain.folds.values()), default=0)
    return f"{count} {plural('fold', count)}" if count else "folds not recorded"


def _main(chain: Chain, source: str) -> MainScore | None:
    scores = pick(chain.scores, source=source, metric=MAE)
    reference = references_of(scores)[0] if scores else ""
    scores = pick(scores, reference=reference)
    model = pick(scores, method="model")
    if not model:
        return None
    digits = digits_for(values(model))
    gain = (chain.summary.get("gain") or {}).get(source, {}).get(reference)
    state, verdict = _release(chain, source)
    return MainScore(
        source=source_name(source),
        text=mean_sd(values(model), digits),
        against=reference_name(reference),
        patients=len({score.patient for score in model}),
        beside=_beside(gain, digits) + _floor(chain, source),
        good=verdict != "fail" and (gain is None or gain["ratio"] < 1),
        state=state,
        verdict=verdict,
        suspects=_suspects(chain, source),
    )


def _beside(gain: Mapping[str, Any] | None, digits: int) -> str:
    """The best baseline, as the release gate compares it (``gain`` of ``summary.json``)."""
    if gain is None:
        return "No baseline was scored."
    name = method_name(gain["baseline"])
    mean = fixed(gain["baseline_mae_hu"], digits)
    if gain["ratio"] >= 1:
        return f"The model does not beat the best baseline, {name}: {mean} HU."
    share = f"the model’s error is {fixed(100 * gain['ratio'], 0)} % of that"
    if gain["high"] is None:
        return f"Best baseline, {name}: {mean} HU; {share} (too few cases for an interval)."
    interval = f"{fixed(100 * gain['low'], 0)} to {fixed(100 * gain['high'], 0)} %"
    return f"Best baseline, {name}: {mean} HU; {share} (95 % interval {interval})."


def _release(chain: Chain, source: str) -> tuple[str, str]:
    """Whether the model is released, and the style of the verdict."""
    if source in chain.refusals:
        reason = chain.refusals[source].get("problem", "")
        return f"Not released: {without_folders(str(reason))}.", "fail"
    if source not in chain.cards:
        return "", ""
    reason = chain.cards[source].get("demonstration_only", "")
    if reason:
        return f"Not released, written for demonstration only: {reason}.", "fail"
    return "Released.", "pass"


def _suspects(chain: Chain, source: str) -> str:
    found = (chain.summary.get("suspect") or {}).get(source)
    if not found:
        return ""
    by_check = Counter(name for names in found["failed"].values() for name in names)
    checks = ", ".join(f"{name.replace('_', ' ')} {n}" for name, n in sorted(by_check.items()))
    text = f"{len(found['failed'])} of {found['cases']} cases are suspect"
    return f"{text}; cases by failed check: {checks}." if checks else f"{text}."


def _floor(chain: Chain, source: str) -> str:
    """A sentence with the difference of the reference between alignments, if it was measured."""
    floors = (chain.trust.get("floor") or {}).items()
    known = [f["floor_mae_hu"] for case, f in floors if case.rsplit("_", 1)[-1] == source]
    known = [value for value in known if value is not None]
    if not known:
        return ""
    return (
        f" The reference itself differs by {fixed(float(np.mean(known)), 0)} HU between alignments."
    )
