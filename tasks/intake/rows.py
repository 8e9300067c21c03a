"""Rows of the table: what lies in the sources, and what will become of it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from synthct.data.orientation import nearest_axes
from synthct.data.volume import Grid, Modality, Volume
from synthct.tasks.ingestion.canonical import reoriented, straightened
from synthct.tasks.ingestion.findings import Code, Finding, Severity
from synthct.tasks.intake.attachment_files import Extra
from synthct.tasks.intake.candidate import Candidate

NEW, KNOWN, REFUSED = "new", "known", "refused"
"""Will be taken in; is there already; cannot be taken in."""

ELSEWHERE = Code(
    "same-scan-elsewhere",
    Severity.REJECT,
    "the same voxels are in the data set under another patient or scan",
    "check the patient's id",
)
SECOND = Code(
    "second-scan",
    Severity.REJECT,
    "the data set has another scan of this kind of the patient",
    "take the patient out first, or keep that one",
)


@dataclass(frozen=True)
class IntakeRow:
    """One scan: a row of the table, all plain values.

    Parameters
    ----------
    patient
        Pseudonym.
    scan
        Id in the data set: ``ct``, ``mr`` or ``cbct``.
    size, spacing_mm
        (x, y, z), as people say it.
    orientation
        Direction of growing column, row and slice index, e.g. ``LPS``; ``(oblique)`` when turned.
    value_range
        Lowest and highest value: HU for CT and CBCT.
    status
        ``new``, ``known`` or ``refused``.
    place
        ``source 1, scan 3``: names of files and folders may name people and stay out.
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
    """A row with what :func:`take_in` needs for it."""

    row: IntakeRow
    candidate: Candidate
    origin: str = ""
    person: str = ""
    born: str = ""


@dataclass(frozen=True, eq=False)
class PlannedAttachment:
    """Structures, a dose or a body mask of a patient, with what taking it in needs.

    Parameters
    ----------
    scan
        Id of the scan that it belongs to; empty for a dose.
    grid
        Of that scan: structures are drawn on it.
    count
        Structures that are drawn.
    only
        Which structures of a set are drawn on this scan, by their places in the set.
    """

    row: IntakeRow
    extra: Extra
    scan: str = ""
    grid: Grid | None = None
    origin: str = ""
    count: int = 0
    only: tuple[int, ...] = ()


def content_of(volume: Volume) -> str:
    """Hash of voxels and place that is the same for one scan in any format and axis order."""
    turned = reoriented(volume)
    grid = np.round([*turned.grid.spacing_mm, *turned.grid.origin_mm], 2) + 0.0
    digest = hashlib.sha256(f"{turned.grid.shape} {grid.tolist()}".encode())
    for plane in turned.array:
        digest.update(np.ascontiguousarray(plane, dtype=np.float32).tobytes())
    return digest.hexdigest()


def orientation(grid: Grid) -> str:
    """Letters of the directions in which column, row and slice index grow."""
    order, signs = nearest_axes(grid)
    letters = dict(
        zip(order, (("IS", "AP", "RL")[w][s > 0] for w, s in enumerate(signs)), strict=True)
    )
    text = "".join(letters[axis] for axis in (2, 1, 0))
    upright = reoriented(Volume(np.zeros(grid.shape, bool), grid, Modality.MASK)).grid
    return text if upright.is_close(straightened(upright), 0.05) else f"{text} (oblique)"
