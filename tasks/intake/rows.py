"""Rows of the intake table: scans and attachments in the sources, with their status."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from synthct.data.orientation import nearest_axes
from synthct.data.volume import Grid, Modality, Volume
from synthct.tasks.ingestion.canonical import reoriented, straightened
from synthct.tasks.ingestion.findings import Code, Finding, Severity
from synthct.tasks.intake.source_items import Attachment, Candidate

NEW, KNOWN, REFUSED = "new", "known", "refused"
"""Will be ingested; is in the data set already; cannot be ingested."""

ELSEWHERE = Code(
    "same-scan-elsewhere",
    Severity.REJECT,
    "the same voxels are in the data set under another patient or scan",
    "check the patient ID",
)
SECOND = Code(
    "second-scan",
    Severity.REJECT,
    "the data set has another scan of this modality of the patient",
    "remove the patient first, or keep that scan",
)


@dataclass(frozen=True)
class IntakeRow:
    """A row of the table, as plain values.

    Parameters
    ----------
    patient
        Pseudonym.
    scan
        Name in the data set: ``ct``, ``mr``, ``cbct``, or that of an attachment.
    size, spacing_mm
        In the usual order (x, y, z).
    orientation
        Direction of growing column, row and slice index, e.g. ``LPS``, with ``(oblique)`` if so.
    value_range
        Lowest and highest value: HU for CT and CBCT.
    status
        ``new``, ``known`` or ``refused``.
    place
        ``source 1, scan 3``: a label, because names of files and folders may identify people.
    """

    patient: str
    scan: str
    modality: str
    region: str
    format: str
    size: tuple[int, int, int] = (0, 0, 0)
    spacing_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)
    orientation: str = ""
    value_range: tuple[float, float] = (0.0, 0.0)
    findings: tuple[Finding, ...] = ()
    status: str = NEW
    place: str = ""


@dataclass(frozen=True, eq=False)
class PlannedScan:
    """A row with the data that :func:`run_intake` needs."""

    row: IntakeRow
    candidate: Candidate
    origin: str = ""
    person: str = ""
    born: str = ""


@dataclass(frozen=True, eq=False)
class PlannedAttachment:
    """A row of structures, a dose or a body mask with the data that :func:`run_intake` needs.

    Parameters
    ----------
    scan
        Name of the scan to which it belongs.
    grid
        Grid of that scan, on which structures are drawn.
    origin
        Keyed hash of the content.
    count
        Number of structures that are drawn.
    only
        Indices, in the set, of the structures that are drawn on this scan.
    """

    row: IntakeRow
    attachment: Attachment
    scan: str = ""
    grid: Grid | None = None
    origin: str = ""
    count: int = 0
    only: tuple[int, ...] = ()


def content_of(volume: Volume) -> str:
    """SHA-256 of voxels and grid, which is the same for one scan in any format and axis order."""
    turned = reoriented(volume)
    grid = np.round([*turned.grid.spacing_mm, *turned.grid.origin_mm], 2) + 0.0
    digest = hashlib.sha256(f"{turned.grid.shape} {grid.tolist()}".encode())
    for plane in turned.array:
        digest.update(np.ascontiguousarray(plane, dtype=np.float32).tobytes())
    return digest.hexdigest()


def orientation(grid: Grid) -> str:
    """Letters of the directions in which column, row and slice index grow, e.g. ``LPS``."""
    order, signs = nearest_axes(grid)
    letters = dict(
        zip(order, (("IS", "AP", "RL")[w][s > 0] for w, s in enumerate(signs)), strict=True)
    )
    text = "".join(letters[axis] for axis in (2, 1, 0))
    upright = reoriented(Volume(np.zeros(grid.shape, bool), grid, Modality.MASK)).grid
    return text if upright.is_close(straightened(upright), 0.05) else f"{text} (oblique)"
