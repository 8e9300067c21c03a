"""The scans of this intake and of the data set, to which attachments may belong."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from synthct.data.readers import find
from synthct.data.volume import Grid
from synthct.tasks.ingestion.dataset import RawDataset, RawPatient
from synthct.tasks.ingestion.findings import Code, Finding, Severity
from synthct.tasks.intake.pseudonym import Pseudonyms
from synthct.tasks.intake.rows import REFUSED, PlannedScan
from synthct.tasks.intake.source_items import Attachment, Candidate


@dataclass(frozen=True)
class IndexedScan:
    """One scan that is, or will be, in the data set.

    Parameters
    ----------
    patient
        Pseudonym.
    name
        Name in the data set: ``ct``, ``mr`` or ``cbct``.
    region, grid
        Region of the body; grid of the original.
    series, frame
        UIDs in the de-identified copy; empty where the format has none.
    identity
        The patient in the header of the original; empty for a scan of the data set and for one
        whose patient is named by the manifest.
    """

    patient: str
    name: str
    region: str
    grid: Grid
    series: str = ""
    frame: str = ""
    identity: str = ""


def _header_identity(candidate: Candidate) -> str:
    in_header = candidate.found.series and not candidate.listed and not candidate.bound
    return candidate.identity if in_header else ""


@dataclass
class ScanIndex:
    """The scans of this intake and, read on demand, those of the data set."""

    decided: Sequence[PlannedScan]
    known: RawDataset
    raw: Path
    names: Pseudonyms
    _of_known: dict[str, list[IndexedScan]] = field(default_factory=dict)

    def current(self) -> Iterator[IndexedScan]:
        """The scans of this intake that are not refused."""
        for one in self.decided:
            found = one.candidate.found
            if one.row.status == REFUSED or found.grid is None:
                continue
            yield IndexedScan(
                one.row.patient,
                one.row.scan,
                one.row.region,
                found.grid,
                self.names.uid(found.series) if found.series else "",
                self.names.uid(found.frame) if found.frame else "",
                _header_identity(one.candidate),
            )

    def of_patient(self, patient: str) -> list[IndexedScan]:
        """The scans of a patient, those of this intake first."""
        own = [scan for scan in self.current() if scan.patient == patient]
        present = {scan.name for scan in own}
        return [*own, *(scan for scan in self._stored(patient) if scan.name not in present)]

    def _stored(self, patient: str) -> list[IndexedScan]:
        if patient not in self._of_known:
            entry = self.known.patients.get(patient, RawPatient(region=""))
            self._of_known[patient] = [
                IndexedScan(patient, scan, entry.region, found.grid, found.series, found.frame)
                for scan, stored in entry.scans.items()
                if (self.raw / stored.path).exists()
                for found in find(self.raw / stored.path)
                if found.grid is not None
            ]
        return self._of_known[patient]

    def is_refused(self, series: str) -> bool:
        """Whether the series is in the sources, but was refused or skipped."""
        return any(self.names.uid(one.candidate.found.series) == series for one in self.decided)


SCAN_ABSENT = Code(
    "scan-absent",
    Severity.REJECT,
    "the scan of structures or a dose is neither in the sources nor in the data set",
    "add the series for which they were made, or name the file and its patient in a manifest",
)
BY_MANIFEST = Code(
    "belongs-by-manifest",
    Severity.NOTE,
    "structures or a dose have another frame of reference than their scan; a manifest assigns them",
)

CT = "ct"


@dataclass(frozen=True, eq=False)
class Fitted:
    """An attachment that is assigned to a scan.

    Parameters
    ----------
    scan
        The scan to which it belongs.
    grid
        Grid of the dose or mask, or of the scan for structures.
    digest
        Hash of the content.
    findings
        Findings on the attachment.
    value_range
        Lowest and highest value.
    count
        Number of drawn structures.
    only
        Indices, in a structure set, of the structures that belong to this scan.
    """

    scan: IndexedScan
    grid: Grid
    digest: str
    findings: tuple[Finding, ...] = ()
    value_range: tuple[float, float] = (0.0, 1.0)
    count: int = 0
    only: tuple[int, ...] = ()


class Refused(Exception):
    """An attachment cannot be ingested; the finding gives the reason."""

    def __init__(self, finding: Finding) -> None:
        self.finding = finding


class NoOutlines(Exception):
    """A structure set outlines no volume: its structures are points, open lines or empty."""

    def __init__(self, count: int) -> None:
        self.count = count


def scan_by_manifest(attachment: Attachment, index: ScanIndex) -> IndexedScan | None:
    """The scan to which a manifest assigns an attachment: a named one, else the patient's CT."""
    if not attachment.listed:
        return None
    wanted = str(attachment.drawn_on).lower() if attachment.drawn_on else CT
    own = index.of_patient(index.names.patient(attachment.identity))
    return next((scan for scan in own if scan.name == wanted), None)
