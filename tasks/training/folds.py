"""Folds over patients: stratified by region, reproducible, without leakage between the sides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from synthct.data.errors import UsageError
from synthct.tasks.pipeline.randomness import derive_seed

HeldOut = Literal["patients", "slab"]


@dataclass(frozen=True)
class CaseFacts:
    """Facts of a registered pair that determine its fold."""

    case: str
    patient: str
    region: str
    verdict: str = "pass"


@dataclass(frozen=True)
class Fold:
    """Cases of training, validation and test.

    Parameters
    ----------
    train, validation, test
        Names of the cases.
    held_out
        ``patients``: validation is on patients without a slice in training. ``slab``: on the upper
        slices of the training cases, because there are too few patients; it selects a checkpoint
        and does not estimate the error for unseen patients.
    """

    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]
    held_out: HeldOut

    def as_json(self) -> dict[str, Any]:
        """An entry of ``folds.json``."""
        return {
            "train": list(self.train),
            "validation": list(self.validation),
            "test": list(self.test),
            "held_out": self.held_out,
        }


def make_folds(
    cases: Sequence[CaseFacts],
    *,
    count: int,
    seed: int,
    validation_fraction: float,
    smallest_training: int,
    test_patients: Sequence[Sequence[str]] = (),
) -> list[Fold]:
    """Divide the patients of one source into ``count`` folds (at most one per patient).

    Test patients of different folds are disjoint; the folds differ in size, and in patients of a
    region, by one at most. With ``test_patients`` they are those named; folds of which no patient
    has a case are left out.

    Raises
    ------
    ValueError
        Fewer than two patients.
    UsageError
        ``patient-without-fold``.
    """
    regions = {fact.patient: fact.region for fact in sorted(cases, key=lambda f: f.case)}
    if len(regions) < 2:
        raise ValueError(f"folds need two patients, got {len(regions)}")
    ordered = _distributed(regions, seed)
    count = min(count, len(ordered))
    folds = []
    tests = [ordered[number::count] for number in range(count)]
    if test_patients:
        tests = _named(regions, test_patients)
    for test in tests:
        rest = [patient for patient in ordered if patient not in test]
        validation = _validation(rest, regions, validation_fraction, smallest_training)
        train = [patient for patient in rest if patient not in validation]
        folds.append(
            Fold(
                train=_cases_of(train, cases),
                validation=_cases_of(validation or train, cases),
                test=_cases_of(test, cases),
                held_out="patients" if validation else "slab",
            )
        )
    for fold in folds:
        require_apart(fold, cases)
    return folds


def require_apart(fold: Fold, cases: Sequence[CaseFacts]) -> None:
    """Require that no patient is on two sides (with ``slab``, training and validation share them).

    Scores of training patients do not estimate those of unseen ones.

    Raises
    ------
    UsageError
        ``patient-in-two-splits``.
    """
    patient_of = {fact.case: fact.patient for fact in cases}
    train, validation, test = (
        {patient_of[case] for case in side} for side in (fold.train, fold.validation, fold.test)
    )
    shared = train & test | validation & test
    if fold.held_out == "patients":
        shared |= train & validation
    if shared:
        raise UsageError(
            "the patient is in two of training, validation and test",
            rule="a patient is in one of training, validation and test",
            where=sorted(shared)[0],
            remedy="keep all cases of a patient together",
            code="patient-in-two-splits",
        )


def _named(regions: Mapping[str, str], test_patients: Sequence[Sequence[str]]) -> list[list[str]]:
    """The named test patients that have a case, by fold."""
    named = {patient for fold in test_patients for patient in fold}
    if missing := sorted(set(regions) - named):
        raise UsageError(
            f"{len(missing)} patients with a usable pair are in no fold",
            rule="training.test_patients names every patient of the data set",
            where=", ".join(missing[:3]),
            remedy="add them to a fold, or leave test_patients out to have them dealt; pseudonyms "
            "of another key are other names",
            code="patient-without-fold",
        )
    return [
        found for fold in test_patients if (found := [name for name in fold if name in regions])
    ]


def _distributed(regions: Mapping[str, str], seed: int) -> list[str]:
    """Patients by region, shuffled within each: every n-th of them is a stratified sample."""
    return sorted(regions, key=lambda p: (regions[p], derive_seed(seed, "folds", p), p))


def _validation(
    rest: Sequence[str], regions: Mapping[str, str], fraction: float, smallest: int
) -> list[str]:
    """Patients held back, from the regions with most patients first; none if too few remain."""
    wanted = max(1, round(fraction * len(rest)))
    if len(rest) - wanted < smallest:
        return []
    left = list(rest)
    for _ in range(wanted):
        sizes = {region: sum(regions[p] == region for p in left) for region in regions.values()}
        fullest = max(sorted(sizes), key=lambda region: sizes[region])
        left.remove(next(p for p in reversed(left) if regions[p] == fullest))
    return [patient for patient in rest if patient not in left]


def _cases_of(patients: Sequence[str], cases: Sequence[CaseFacts]) -> tuple[str, ...]:
    return tuple(sorted(fact.case for fact in cases if fact.patient in patients))
