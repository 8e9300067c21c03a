"""What a structure set, a dose or a mask was found to belong to, and why it is refused."""

from __future__ import annotations

from dataclasses import dataclass

from synthct.data.volume import Grid
from synthct.tasks.ingestion.findings import Code, Finding, Severity
from synthct.tasks.intake.attachment_files import Extra
from synthct.tasks.intake.scan_index import Home, ScanIndex

SCAN_ABSENT = Code(
    "scan-absent",
    Severity.REJECT,
    "the scan that structures or a dose belong to is neither here nor in the data set",
    "give the series that they were made for too, or name the file and its patient in a manifest",
)
BY_MANIFEST = Code(
    "belongs-by-manifest",
    Severity.NOTE,
    "structures or a dose name other coordinates than their scan; a manifest gives them to it",
)

CT = "ct"


@dataclass(frozen=True, eq=False)
class Fitted:
    """An extra with its scan and what was seen in it.

    Parameters
    ----------
    count
        Structures that are drawn.
    only
        Of a structure set, the structures that belong to this scan, by their places in the set.
    """

    home: Home
    grid: Grid
    digest: str
    findings: tuple[Finding, ...] = ()
    value_range: tuple[float, float] = (0.0, 1.0)
    count: int = 0
    only: tuple[int, ...] = ()


class Refused(Exception):
    """An extra that is not taken in, with the finding that says why."""

    def __init__(self, finding: Finding) -> None:
        self.finding = finding


def said_home(extra: Extra, homes: ScanIndex) -> Home | None:
    """The scan that a manifest gives an extra to: the one it names, else the patient's CT."""
    if not extra.listed:
        return None
    wanted = str(extra.drawn_on).lower() if extra.drawn_on else CT
    own = homes.of(homes.names.patient(extra.identity))
    return next((home for home in own if home.scan == wanted), None)
