"""Check for a left-right mirrored or head-feet reversed moving scan.

A registration of a mirrored scan can pass all measures of the gate, because the body is nearly
symmetric; ingestion makes the same check for every pair.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import SimpleITK as sitk

from synthct.tasks.ingestion.canonical import canonical
from synthct.tasks.ingestion.pairs import fits, side_findings
from synthct.tasks.registration.rigid.initial import placed
from synthct.tasks.registration.scan_pair import ScanPair


@dataclass(frozen=True)
class Sides:
    """Result of the orientation check.

    Parameters
    ----------
    information
        Mutual information [nats] of the moving scan as it is (``straight``), with left and right
        exchanged (``mirrored``), with head and feet exchanged (``reversed_``).
    doubt
        Why the orientation is doubtful; empty if it is not.
    """

    information: dict[str, float]
    doubt: str


def sides_of(pair: ScanPair, initial: sitk.Transform | None) -> Sides:
    """Register the moving scan and its mirror images coarsely and compare how well they fit."""
    begun = placed(pair, initial)
    fixed, body, moving = (
        canonical(volume)[0] for volume in (begun.fixed, begun.fixed_body, begun.moving)
    )
    found = fits(fixed, body, moving)
    doubt = "; ".join(
        f"{finding.code}: {finding.sentence}; {finding.remedy}" for finding in side_findings(found)
    )
    return Sides(asdict(found), doubt)
