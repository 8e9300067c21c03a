"""A release folder, opened safely: every byte checked, nothing unpickled, nothing executed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError, model_validator

from synthct.data.errors import UsageError
from synthct.data.files import canonical_json, file_sha256, write_whole
from synthct.data.section import Section
from synthct.tasks.ingestion.params import IngestionParams
from synthct.tasks.models.description import ModelDescription
from synthct.tasks.pipeline.artefacts import CARD, CHECKSUMS, MODEL, REFUSED
from synthct.tasks.prediction.domain import Domain
from synthct.tasks.prediction.onnx_file import require_self_contained

"""Written last: {"format": 1, "files": {name: {"sha256": ..., "bytes": ...}}} of all others."""

SIGNATURE = "signature.json"
"""Not listed: it signs ``checksums.json`` (see ``tasks/prediction/signing.py``)."""

DOMAIN = "domain.json"


class Member(Section):
    """One network of the ensemble: a fold."""

    fold: int
    onnx: str
    """File with the graph and its weights."""
    weights: str
    """The same weights as safetensors."""
    int8: str | None = None
    """The graph with 8-bit weights and activations, where the export made one."""
    torch_export: str | None = None
    """``torch.export`` program."""
    torchscript: str | None = None
    """TorchScript."""
    network: dict[str, Any]
    """``{"name": ..., options...}`` of ``tasks/models/networks``, for who wants to train on."""
    validation_mae_hu: float | None = None


class ReleaseDescription(Section):
    """``model.json`` of a release: what is done to a scan before and after the networks."""

    format: Literal[1] = 1
    source: Literal["mr", "cbct"]
    members: list[Member]
    student: Member | None = None
    """One network that learned the ensemble's answers, where the export made one."""
    preprocessing: ModelDescription
    """Of the first fold, with case names left out: they stay in the pipeline."""
    ingestion: IngestionParams = IngestionParams()
    """How the training scans were checked and outlined; ``predict`` does the same."""

    @model_validator(mode="after")
    def _windows_fit(self) -> ReleaseDescription:
        model = self.preprocessing
        if not self.members:
            raise ValueError("members: a release holds at least one network")
        if any(size % model.divisor for size in model.patch_size):
            raise ValueError(
                f"preprocessing.patch_size: {model.patch_size} is no multiple of the divisor "
                f"{model.divisor}"
            )
        return self

    def as_text(self) -> str:
        """Canonical JSON."""
        return canonical_json(self.as_json())

    @classmethod
    def from_text(cls, text: str | bytes) -> ReleaseDescription:
        """Read ``model.json``; one from before thin parts were kept predicts as then."""
        read = cls.model_validate_json(text)
        body = read.ingestion.body
        if "thin_parts_mm" in body.model_fields_set:
            return read
        then = {"body": body.model_copy(update={"thin_parts_mm": 0.0})}
        return read.model_copy(update={"ingestion": read.ingestion.model_copy(update=then)})


@dataclass(frozen=True)
class Release:
    """A release of which every file was checked."""

    folder: Path
    description: ReleaseDescription
    card: dict[str, Any]
    listed: dict[str, dict[str, Any]]
    """What ``checksums.json`` says of each file."""
    domain: Domain | None = None
    """What the training scans looked like; a release of an older version does not say it."""

    @property
    def model(self) -> ModelDescription:
        """Preprocessing and postprocessing."""
        return self.description.preprocessing

    @property
    def demonstration(self) -> list[str]:
        """A sentence, if the release gate refused the model and it was written all the same."""
        reason = str(self.card.get("demonstration_only", ""))
        sentence = f"for demonstration only, the release gate refused this model: {reason}"
        return [sentence] if reason else []

    def members(self, *, student: bool = False) -> list[Member]:
        """The folds, or the student of them all."""
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

    def graphs_bytes(self, *, int8: bool = False, student: bool = False) -> int:
        """Size of all graphs that run together, as listed."""
        names = [(m.int8 if int8 else None) or m.onnx for m in self.members(student=student)]
        return sum(int(self.listed[name].get("bytes", 0)) for name in names)

    def graphs(self, *, int8: bool = False, student: bool = False) -> Iterator[bytes]:
        """The ONNX files in the order of the members, one at a time, each checked once more.

        What runs is what was checked: the bytes, not the file.
        """
        for member in self.members(student=student):
            name = member.int8 if int8 else member.onnx
            if name is None:
                raise UsageError(
                    "the release has no 8-bit networks",
                    where=str(self.folder),
                    remedy="leave out --int8, or export with export.formats.int8 set",
                    code="no-int8",
                )
            graph = _checked(self.folder / name, self.listed[name])
            require_self_contained(self.folder / name, graph)
            yield graph


def write_checksums(folder: Path) -> None:
    """Write ``checksums.json`` over every other file of the folder."""
    files = {name: folder / name for name in sorted(_present(folder))}
    listed = {
        name: {"sha256": file_sha256(path), "bytes": path.stat().st_size}
        for name, path in files.items()
    }
    write_whole(folder / CHECKSUMS, canonical_json({"format": 1, "files": listed}))


def _present(folder: Path) -> set[str]:
    """Names of all files below the folder, but for the listing and its signature."""
    found = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if not p.is_dir()}
    return found - {CHECKSUMS, SIGNATURE}


def open_release(folder: Path) -> Release:
    """Check every file of a release folder and read what prediction needs of it.

    A checksum inside the folder stops accidents (a bad disk, a broken copy), not a forger, who
    would write new checksums: that takes a signature (``tasks/prediction/signing.py``).
    """
    if (folder / REFUSED).is_file():
        raise _refused_release(folder / REFUSED)
    listed = _listed(folder)
    _check_listing(folder, listed)
    for name, entry in listed.items():
        _checked(folder / name, entry)
    try:
        description = ReleaseDescription.from_text(_checked(folder / MODEL, listed[MODEL]))
        card = dict(json.loads(_checked(folder / CARD, listed[CARD])))
        for member in [*description.members, *filter(None, [description.student])]:
            _ = listed[member.onnx], listed[member.weights], listed[member.int8 or member.onnx]
        domain = None
        if DOMAIN in listed:
            domain = Domain.model_validate_json(_checked(folder / DOMAIN, listed[DOMAIN]))
    except (KeyError, ValueError) as error:  # pydantic's ValidationError is a ValueError
        raise UsageError(
            _what(error),
            rule="a release holds model.json, card.json and the graphs that model.json names",
            where=str(folder),
            remedy="export it again with a version of synthct that matches",
            code="release-unreadable",
        ) from error
    return Release(folder, description, card, listed, domain)


def _what(error: Exception) -> str:
    """The first thing that is wrong, with the place of it."""
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        return f"{place}: {first['msg']}" if place else str(first["msg"])
    missing = f"{error} is missing" if isinstance(error, KeyError) else str(error)
    return " ".join(missing.split())[:200]


def _refused_release(file: Path) -> UsageError:
    row = json.loads(file.read_text())
    return UsageError(
        f"the export refused this model: {row.get('problem') or row.get('rule', '')}",
        rule="only a released model predicts",
        where=str(file),
        remedy=str(row.get("remedy", "")),
        code="release-refused",
    )


def checksums_of(folder: Path) -> Path:
    """The file ``checksums.json`` of a release.

    Raises
    ------
    UsageError
        ``release-missing``: there is no such folder; ``release-incomplete``: it has no such file.
    """
    file = folder / CHECKSUMS
    if not file.is_file():
        raise UsageError(
            f"the folder has no {CHECKSUMS}" if folder.is_dir() else "there is no such folder",
            rule=f"a release is a folder with a {CHECKSUMS}, which is written last",
            where=str(folder),
            remedy="give the whole folder that the export stage wrote (export/mr or export/cbct)",
            code="release-incomplete" if folder.is_dir() else "release-missing",
        )
    return file


def _listed(folder: Path) -> dict[str, dict[str, Any]]:
    file = checksums_of(folder)
    try:
        document = json.loads(file.read_text())
        return {str(name): dict(entry) for name, entry in document["files"].items()}
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise UsageError(
            f"the file cannot be read ({type(error).__name__})",
            rule=f"{CHECKSUMS} lists the files of a release with their hashes",
            where=str(file),
            remedy="copy the release again from where it was made",
            code="release-incomplete",
        ) from error


def _check_listing(folder: Path, listed: dict[str, dict[str, Any]]) -> None:
    present = _present(folder)
    for name in sorted(present ^ set(listed)):
        raise UsageError(
            "the file is not listed in checksums.json"
            if name in present
            else "the file is missing",
            rule="a release folder holds exactly the files that checksums.json lists",
            where=f"{folder}/{name}",
            remedy="copy the release again",
            code="release-files-differ",
        )


def _checked(file: Path, entry: dict[str, Any]) -> bytes:
    content = b"" if file.is_symlink() or not file.is_file() else file.read_bytes()
    if hashlib.sha256(content).hexdigest() != entry.get("sha256"):
        raise UsageError(
            f"the file is not the one that checksums.json lists ({len(content)} of "
            f"{entry.get('bytes')} bytes)",
            where=str(file),
            remedy="the release is damaged or was changed: copy it again from where it was made",
            code="release-damaged",
        )
    return content
