"""Check for a left-right mirrored or head-feet reversed moving scan.

A registration of a mirrored scan can pass all measures of the gate, because the body is nearly
symmetric; ingestion makes the same check for every pair, at low resolution only.

Here a pair whose left and right are not clear at low resolution is compared at a finer one, in
which the small asymmetries of a head show. A note says what is still unclear, so that no note means
that the orientation was confirmed.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import SimpleITK as sitk

from synthct.tasks.ingestion.canonical import canonical
from synthct.tasks.ingestion.pairs import (
    CELL_MM,
    MIN_INFORMATION,
    MIN_RATIO,
    Fits,
    fits,
    side_findings,
)
from synthct.tasks.registration.rigid.initial import placed
from synthct.tasks.registration.scan_pair import ScanPair

FINE_MM = 4.0
"""Voxel size of the second comparison [mm]."""

CLEAR = 1.15
"""Ratio of mutual information from which, at the finer resolution, one orientation fits better."""


@dataclass(frozen=True)
class Sides:
    """Result of the orientation check.

    Parameters
    ----------
    information
        Mutual information [nats] of the moving scan as it is (``straight``), with left and right
        exchanged (``mirrored``), with head and feet exchanged (``reversed_``), the voxel size at
        which it was measured (``voxel_mm``), and whether the scan fits clearly better as it is
        (``left_right_shown``, ``head_feet_shown``).
    doubt
        Why the pair fails; empty if it does not.
    suspicion
        Why left and right are doubtful although the evidence is too weak to fail.
    note
        What the comparison does not show; empty if it shows all sides.
    """

    information: dict[str, Any]
    doubt: str = ""
    suspicion: str = ""
    note: str = ""


def sides_of(pair: ScanPair, initial: sitk.Transform | None) -> Sides:
    """Register the moving scan and its mirror images coarsely and compare how well they fit."""
    begun = placed(pair, initial)
    fixed, body, moving = (
        canonical(volume)[0] for volume in (begun.fixed, begun.fixed_body, begun.moving)
    )
    found, voxel_mm, clear = fits(fixed, body, moving), CELL_MM, MIN_RATIO
    if not side_findings(found) and not _shown(found, found.mirrored, clear):
        found = fits(fixed, body, moving, cell_mm=FINE_MM)
        voxel_mm, clear = FINE_MM, CLEAR
    return judged(found, voxel_mm, clear)


def judged(found: Fits, voxel_mm: float, clear: float) -> Sides:
    """Evaluate the mutual information; a ratio of at least ``clear`` counts as significant."""
    shown = {
        "left_right_shown": _shown(found, found.mirrored, clear),
        "head_feet_shown": _shown(found, found.reversed_, clear),
    }
    information = {**asdict(found), "voxel_mm": voxel_mm, **shown}
    doubt = "; ".join(
        f"{finding.code}: {finding.sentence}; {finding.remedy}" for finding in side_findings(found)
    )
    if doubt:
        return Sides(information, doubt=doubt)
    mirrored = f"mutual information {found.mirrored:.3f} mirrored, {found.straight:.3f} as it is"
    if found.mirrored >= MIN_INFORMATION and found.mirrored >= clear * found.straight:
        return Sides(
            information, suspicion=f"left and right may be exchanged in one scan: {mirrored}"
        )
    notes = []
    if not shown["left_right_shown"]:
        notes.append(f"left and right ({mirrored})")
    if not shown["head_feet_shown"]:
        notes.append(
            f"head and feet (reversed {found.reversed_:.3f}, {found.straight:.3f} as it is)"
        )
    note = f"sides not shown by the images: {' and '.join(notes)}" if notes else ""
    return Sides(information, note=note)


def _shown(found: Fits, other: float, clear: float) -> bool:
    """Whether the moving scan fits clearly better as it is than in another orientation."""
    return found.straight >= MIN_INFORMATION and found.straight >= clear * other
