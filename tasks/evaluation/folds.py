"""The cross-validation folds, checked: no network is tested on a patient it was trained on."""

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
    """One network, with its training, validation and test cases."""

    source: str
    number: int
    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]

    @property
    def name(self) -> str:
        """Name of its folder in the training stage's output."""
        return f"{self.source}_fold{self.number}"


def read_folds(training: Path) -> list[Fold]:
    """``folds.json`` of the training stage.

    Raises
    ------
    MachineError
        A test patient was seen in training or validation, or is tested twice.
    """
    stored = json.loads((training / FOLDS).read_text())
    folds = [
        Fold(source, number, *(tuple(entry[part]) for part in ("train", "validation", "test")))
        for source, entries in sorted(stored.items())
        for number, entry in enumerate(entries)
    ]
    tested: dict[str, str] = {}
    for fold in folds:
        _check_unseen(fold, tested, training)
    return folds


def _check_unseen(fold: Fold, tested: dict[str, str], training: Path) -> None:
    known = [*fold.train, *fold.validation]
    if is_trained(training, fold):  # what the network's own description lists
        description = description_of(training, fold)
        known += [*description.train_cases, *description.validation_cases]
    seen = {_patient(case) for case in known}
    for case in fold.test:
        problem = ""
        if _patient(case) in seen:
            problem = f"{case} is tested by {fold.name}, which was trained on the same patient"
        elif case in tested:
            problem = f"{case} is tested by both {tested[case]} and {fold.name}"
        if problem:
            raise MachineError(
                problem,
                rule="a patient is tested by exactly one network, which has not seen that patient",
                where=str(training / FOLDS),
                remedy="run the training stage again",
                code="test-case-seen",
            )
        tested[case] = fold.name


def check_scans_unseen(registration: Path, folds: Sequence[Fold]) -> None:
    """Raise if the voxels of a test scan are also those of a training scan, under any name.

    Patients are identified by their pseudonym; a scan that was ingested twice has two. The stored
    content (source, or moved CT) of a test case must differ from every training case's.

    Raises
    ------
    MachineError
        A test scan has the same voxels as a scan that its network was trained on.
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
                    f"the test scan has the same voxels as {', '.join(twins)}, which its "
                    "network was trained on",
                    rule="a network is never tested on a scan that it was trained on, under "
                    "any name",
                    where=f"{fold.name}/{case}",
                    remedy="ingest the scan once, under one pseudonym, and run again",
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
            "the fold that tests this case has no trained network",
            where=fold.name,
            remedy="training/excluded.json says why its training was excluded",
            code="no-network",
        ).as_json()
        | {"unit": case}
        for fold in folds
        if not is_trained(training, fold)
        for case in fold.test
    ]


def is_trained(training: Path, fold: Fold) -> bool:
    """Whether the fold has a trained network."""
    return (training / fold.name / MODEL).is_file()


def description_of(training: Path, fold: Fold) -> ModelDescription:
    """Description of the fold's network."""
    return ModelDescription.load(training / fold.name / MODEL)
