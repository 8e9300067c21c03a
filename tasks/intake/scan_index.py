"""Scans that structures, doses and masks may belong to: of this intake and of the data set."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from synthct.data.readers import find
from synthct.data.volume import Grid
from synthct.tasks.ingestion.dataset import RawDataset, RawPatient
from synthct.tasks.intake.candidate import Candidate
from synthct.tasks.intake.pseudonym import Pseudonyms
from synthct.tasks.intake.rows import REFUSED, PlannedScan


@dataclass(frozen=True)
class Home:
    """One scan that is, or will be, in the data set.

    Parameters
    ----------
    series, frame
        UIDs as the de-identified copy has them; empty where the format has none.
    identity
        Whose the source's header says it is; empty for a scan of the data set and for one whose
        patient a manifest named.
    """

    patient: str
    scan: str
    region: str
    grid: Grid
    series: str = ""
    frame: str = ""
    identity: str = ""


def _told_identity(candidate: Candidate) -> str:
    told = candidate.found.series and not candidate.listed and not candidate.bound
    return candidate.identity if told else ""


@dataclass
class ScanIndex:
    """The scans of this intake, and those of the data set, looked at when they are asked for."""

    decided: Sequence[PlannedScan]
    known: RawDataset
    raw: Path
    names: Pseudonyms
    _of_known: dict[str, list[Home]] = field(default_factory=dict)

    def here(self) -> Iterator[Home]:
        """The scans of this intake that are not refused."""
        for one in self.decided:
            found = one.candidate.found
            if one.row.status == REFUSED or found.grid is None:
                continue
            yield Home(
                one.row.patient,
                one.row.scan,
                one.row.region,
                found.grid,
                self.names.uid(found.series) if found.series else "",
                self.names.uid(found.frame) if found.frame else "",
                _told_identity(one.candidate),
            )

    def of(self, patient: str) -> list[Home]:
        """The scans of a patient, those of this intake first."""
        own = [home for home in self.here() if home.patient == patient]
        present = {home.scan for home in own}
        return [*own, *(home for home in self._stored(patient) if home.scan not in present)]

    def _stored(self, patient: str) -> list[Home]:
        if patient not in self._of_known:
            entry = self.known.patients.get(patient, RawPatient(region=""))
            self._of_known[patient] = [
                Home(patient, scan, entry.region, found.grid, found.series, found.frame)
                for scan, stored in entry.scans.items()
                if (self.raw / stored.path).exists()
                for found in find(self.raw / stored.path)
                if found.grid is not None
            ]
        return self._of_known[patient]

    def refused(self, series: str) -> bool:
        """Whether the series is here, but was refused or passed over."""
        return any(self.names.uid(one.candidate.found.series) == series for one in self.decided)
