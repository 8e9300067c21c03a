"""Which network may be asked about which patient."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from synthct.data.errors import DataError, MachineError
from synthct.data.files import MANIFEST, file_sha256
from synthct.tasks.models.description import ModelDescription
from synthct.tasks.pipeline.artefacts import CT, FOLDS, MODEL, SOURCE


@dataclass(frozen=True)
class Fold:
    """One network and the cases it has, and has not, seen."""

    source: str
    number: int
    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]

    @property
    def name(self) -> str:
        """Its folder in the training stage's out."""
        return f"{self.source}_fold{self.number}"


def read_folds(training: Path) -> list[Fold]:
    """``folds.json`` of the training stage, checked: no patient is tested who was seen before."""
    told = json.loads((training / FOLDS).read_text())
    folds = [
        Fold(source, number, *(tuple(entry[part]) for part in ("train", "validation", "test")))
        for source, entries in sorted(told.items())
        for number, entry in enumerate(entries)
    ]
    tested: dict[str, str] = {}
    for fold in folds:
        _check_unseen(fold, tested, training)
    return folds


def _check_unseen(fold: Fold, tested: dict[str, str], training: Path) -> None:
    known = [*fold.train, *fold.validation]
    if is_trained(training, fold):  # what the network itself says it saw
        description = description_of(training, fold)
        known += [*description.train_cases, *description.validation_cases]
    seen = {_patient(case): "trained on" for case in known}
    for case in fold.test:
        before = seen.get(_patient(case)) or tested.get(case)
        if before:
            raise MachineError(
                "a patient is tested by one network, which has not seen that patient",
                where=str(training / FOLDS),
                got=f"{case}, tested by {fold.name} and {before}",
                remedy="run the training stage again",
                code="test-case-seen",
            )
        tested[case] = f"tested by {fold.name}"


def check_scans_unseen(registration: Path, folds: Sequence[Fold]) -> None:
    """Raise when a tested scan, under whatever name, is one that its network was trained on.

    Patients are told apart by their pseudonym; a scan that came in twice has two. The stored
    content (source, or moved CT) of a test case must differ from every training case's.
    """
    hashes = {
        case: _contents(registration / case)
        for fold in folds
        for case in (*fold.train, *fold.validation, *fold.test)
    }
    for fold in folds:
        seen = {value: case for case in (*fold.train, *fold.validation) for value in hashes[case]}
        for case in fold.test:
            twins = sorted({seen[value] for value in hashes[case] if value in seen})
            if twins:
                raise MachineError(
                    "a tested scan is none that its network was trained on, under any name",
                    where=f"{fold.name}/{case}",
                    got=f"the same voxels as {', '.join(twins)}",
                    remedy="take the scan in once, under one pseudonym, and run again",
                    code="test-scan-seen",
                )


def _contents(folder: Path) -> list[str]:
    names = [name for name in (SOURCE, CT) if (folder / name).is_dir()]
    return [file_sha256(folder / name / MANIFEST) for name in names]


def _patient(case: str) -> str:
    return case.rsplit("_", 1)[0]


def without_network(training: Path, folds: Sequence[Fold]) -> list[Mapping[str, Any]]:
    """Rows of ``excluded.json`` for the test cases of folds whose training was excluded."""
    return [
        DataError(
            "the fold that tests the case has a network",
            where=fold.name,
            got="no model.json",
            remedy="see training/excluded.json",
            code="no-network",
        ).as_json()
        | {"unit": case}
        for fold in folds
        if not is_trained(training, fold)
        for case in fold.test
    ]


def is_trained(training: Path, fold: Fold) -> bool:
    """Whether the fold's network is there."""
    return (training / fold.name / MODEL).is_file()


def description_of(training: Path, fold: Fold) -> ModelDescription:
    """What the fold's network is."""
    return ModelDescription.load(training / fold.name / MODEL)
