"""A release folder, opened safely: every file is verified; nothing is unpickled or executed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, model_validator

from synthct.data.errors import UsageError
from synthct.data.files import canonical_json
from synthct.data.section import Section
from synthct.tasks.ingestion.params import IngestionParams
from synthct.tasks.models.description import ModelDescription
from synthct.tasks.pipeline.artefacts import CARD, MODEL, REFUSED
from synthct.tasks.prediction.checksums import check_listing, checked, listed
from synthct.tasks.prediction.domain import Domain
from synthct.tasks.prediction.intervals import CALIBRATION, Calibration
from synthct.tasks.prediction.onnx_file import require_self_contained

DOMAIN = "domain.json"


class Member(Section):
    """One network of the ensemble: a fold."""

    fold: int
    onnx: str
    """File with the graph and its weights."""
    weights: str
    """The same weights as safetensors."""
    int8: str | None = None
    """The graph with 8-bit weights and activations, if the export made one."""
    forms: dict[str, str] = Field(default_factory=dict)
    """Files of smaller forms, by name of the shrinker."""
    torch_export: str | None = None
    """``torch.export`` program."""
    torchscript: str | None = None
    """TorchScript."""
    network: dict[str, Any]
    """``{"name": ..., options...}`` of ``tasks/models/networks``, for further training."""
    validation_mae_hu: float | None = None


class ReleaseDescription(Section):
    """``model.json`` of a release: pre- and postprocessing, and the networks."""

    format: Literal[1] = 1
    source: Literal["mr", "cbct"]
    members: list[Member]
    student: Member | None = None
    """Network distilled from the ensemble, if the export made one."""
    fast: str | None = None
    """Name of the form with the least arithmetic, if it has less than the networks themselves."""
    small: str | None = None
    """Name of the form with the smallest files, or ``int8``."""
    preprocessing: ModelDescription
    """Description of the first fold, without names of cases, which stay in the pipeline."""
    ingestion: IngestionParams = IngestionParams()
    """Ingestion params of the training scans; ``predict`` uses the same."""

    @model_validator(mode="after")
    def _windows_fit(self) -> ReleaseDescription:
        model = self.preprocessing
        if not self.members:
            raise ValueError("members: a release holds at least one network")
        for choice in (self.fast, self.small):
            if choice not in (None, "int8") and any(choice not in m.forms for m in self.members):
                raise ValueError(f"a network has no form {choice!r:.40}")
        if any(size % model.divisor for size in model.patch_size):
            raise ValueError(
                f"preprocessing.patch_size: {model.patch_size} is not a multiple of the divisor "
                f"{model.divisor}"
            )
        return self

    def as_text(self) -> str:
        """Canonical JSON."""
        return canonical_json(self.as_json())

    @classmethod
    def from_text(cls, text: str | bytes) -> ReleaseDescription:
        """Read ``model.json``; a release from before thin parts were kept predicts without them."""
        read = cls.model_validate_json(text)
        body = read.ingestion.body
        if "thin_parts_mm" in body.model_fields_set:
            return read
        then = {"body": body.model_copy(update={"thin_parts_mm": 0.0})}
        return read.model_copy(update={"ingestion": read.ingestion.model_copy(update=then)})


FormName = Literal["", "fast", "small"]
"""Form of the networks to run; empty: the networks themselves."""


@dataclass(frozen=True)
class Release:
    """A release whose files were all verified."""

    folder: Path
    description: ReleaseDescription
    card: dict[str, Any]
    listed: dict[str, dict[str, Any]]
    """Hash and size of each file according to ``checksums.json``."""
    domain: Domain | None = None
    """Feature ranges of the training scans; absent in releases of older versions."""
    intervals: Calibration | None = None
    """Half-widths of the intervals, if there were enough held-out patients."""

    @property
    def model(self) -> ModelDescription:
        """Preprocessing and postprocessing."""
        return self.description.preprocessing

    @property
    def demonstration(self) -> list[str]:
        """Warning if the gate refused the model but it was written as a demonstration; or empty."""
        reason = str(self.card.get("demonstration_only", ""))
        sentence = f"for demonstration only, the release gate refused this model: {reason}"
        return [sentence] if reason else []

    def require_intervals(self) -> Calibration:
        """The calibration of the intervals.

        Raises
        ------
        UsageError
            ``no-calibration``: the release has none.
        """
        if self.intervals is None:
            raise UsageError(
                f"the release has no {CALIBRATION}",
                rule="intervals come from patients that the networks had not seen",
                where=str(self.folder),
                remedy="leave out --interval, or export again: the evaluation needs five unseen "
                "patients with a reference CT",
                code="no-calibration",
            )
        return self.intervals

    def members(self, *, student: bool = False) -> list[Member]:
        """The folds, or the student alone."""
        if not student:
            return self.description.members
        if self.description.student is None:
            raise UsageError(
                "the release has no student network",
                where=str(self.folder),
                remedy="leave out --student, or export with export.distil set",
                code="no-student",
            )
        return [self.description.student]

    def graphs_bytes(
        self, *, int8: bool = False, student: bool = False, form: FormName = ""
    ) -> int:
        """Total size of the graphs to run, from the list of files [bytes]."""
        names = self._files(int8=int8, student=student, form=form)
        return sum(int(self.listed[name].get("bytes", 0)) for name in names)

    def graphs(
        self, *, int8: bool = False, student: bool = False, form: FormName = ""
    ) -> Iterator[bytes]:
        """Contents of the ONNX files in the order of the members, each verified again.

        The bytes that were verified are those that run.
        """
        for name in self._files(int8=int8, student=student, form=form):
            graph = checked(self.folder / name, self.listed[name])
            require_self_contained(self.folder / name, graph)
            yield graph

    def _files(self, *, int8: bool, student: bool, form: FormName) -> list[str]:
        """Names of the files to run.

        Raises
        ------
        UsageError
            ``no-student``, ``no-int8``, ``no-form``: the release has no such networks;
            ``form-and-other``: a form is requested together with another choice of networks.
        """
        if form and (int8 or student):
            raise UsageError(
                f"--{form} is given with {'--student' if student else '--int8'}",
                rule="--fast, --small, --int8 and --student each choose the networks",
                where=str(self.folder),
                remedy="give one of them",
                code="form-and-other",
            )
        name = {"fast": self.description.fast, "small": self.description.small}.get(form)
        if form and name is None:
            raise UsageError(
                f"the release has no form for --{form}",
                where=str(self.folder),
                remedy=f"leave out --{form}, or export with export.shrink set",
                code="no-form",
            )
        as_int8 = int8 or name == "int8"
        found = []
        for member in self.members(student=student):
            file = member.int8 if as_int8 else member.onnx
            if name is not None and not as_int8:
                file = member.forms[name]
            if file is None:
                raise UsageError(
                    "the release has no 8-bit networks",
                    where=str(self.folder),
                    remedy="leave out --int8, or export with export.formats.int8 set",
                    code="no-int8",
                )
            found.append(file)
        return found


def open_release(folder: Path) -> Release:
    """Verify every file of a release folder and read its descriptions.

    Checksums inside the folder detect accidents (a bad disk, a broken copy), but not forgery, since
    a forger would write new ones. That takes a signature (``tasks/prediction/signing.py``).
    """
    if (folder / REFUSED).is_file():
        raise _refused_release(folder / REFUSED)
    files = listed(folder)
    check_listing(folder, files)
    for name, entry in files.items():
        checked(folder / name, entry)
    try:
        description = ReleaseDescription.from_text(checked(folder / MODEL, files[MODEL]))
        card = dict(json.loads(checked(folder / CARD, files[CARD])))
        for member in [*description.members, *filter(None, [description.student])]:
            for file in (member.onnx, member.weights, member.int8, *member.forms.values()):
                _ = files[file or member.onnx]
        domain = None
        if DOMAIN in files:
            domain = Domain.model_validate_json(checked(folder / DOMAIN, files[DOMAIN]))
        intervals = None
        if CALIBRATION in files:
            text = checked(folder / CALIBRATION, files[CALIBRATION])
            intervals = Calibration.model_validate_json(text)
    except (KeyError, ValueError, TypeError, RecursionError) as error:  # pydantic's is a ValueError
        raise UsageError(
            _what(error),
            rule="a release holds model.json, card.json and the graphs that model.json names",
            where=str(folder),
            remedy="export it again with a version of synthct that matches",
            code="release-unreadable",
        ) from error
    return Release(folder, description, card, files, domain, intervals)


def _what(error: Exception) -> str:
    """The first error and its location."""
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        return f"{place}: {first['msg']}" if place else str(first["msg"])
    missing = f"{error} is missing" if isinstance(error, KeyError) else str(error)
    return " ".join(missing.split())[:200]


def _refused_release(file: Path) -> UsageError:
    try:
        row = dict(json.loads(file.read_text()))
    except (OSError, ValueError, TypeError, RecursionError):
        row = {"rule": f"{REFUSED} cannot be read"}
    return UsageError(
        f"the export refused this model: {row.get('problem') or row.get('rule', '')}",
        rule="only a released model predicts",
        where=str(file),
        remedy=str(row.get("remedy", "")),
        code="release-refused",
    )
