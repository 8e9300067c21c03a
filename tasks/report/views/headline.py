"""The first section: kind of cohort, main scores and their limits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from synthct.tasks.figures.names import method_name, reference_name, source_name
from synthct.tasks.figures.numbers import digits_for, fixed, mean_sd, plural
from synthct.tasks.report.reading import Chain, Score
from synthct.tasks.report.views.scores import (
    MAE,
    best_baseline,
    pick,
    references_of,
    sources_of,
    values,
)

FEW_PATIENTS = 5
"""Number of real patients below which the page says that they are too few."""


@dataclass(frozen=True)
class MainScore:
    """Main score of one source: the model's MAE and that of the best baseline."""

    source: str
    text: str
    against: str
    patients: int
    beside: str
    beaten: bool


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
    people = "digital" if chain.synthetic else "real"
    name = chain.dataset.get("dataset", "")
    text = f"{count} {people} {plural('patient', count)}"
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
    return sentences


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
    baseline = best_baseline(scores)
    return MainScore(
        source=source_name(source),
        text=mean_sd(values(model), digits),
        against=reference_name(reference),
        patients=len({score.patient for score in model}),
        beside=_beside(scores, baseline, digits) + _floor(chain, source),
        beaten=baseline is None or _mean(scores, "model") < _mean(scores, baseline),
    )


def _beside(scores: Sequence[Score], baseline: str | None, digits: int) -> str:
    if baseline is None:
        return "No baseline was scored."
    mean, model = _mean(scores, baseline), _mean(scores, "model")
    name = method_name(baseline)
    if model < mean:
        share = f"the model’s error is {fixed(100 * model / mean, 0)} % of that"
        return f"Best baseline, {name}: {fixed(mean, digits)} HU; {share}."
    return f"The model does not beat the best baseline, {name}: {fixed(mean, digits)} HU."


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


def _mean(scores: Sequence[Score], method: str) -> float:
    return float(np.mean(values(pick(scores, method=method))))
