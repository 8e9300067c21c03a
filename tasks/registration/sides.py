"""Left and right, head and feet: whether the moving scan fits the fixed one only as its mirror.

A registration of a mirrored scan looks well in every figure of the gate, because a body is nearly
its own mirror image; ingestion asks this of every pair that is taken in.
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
    """What the guard of sides found.

    Parameters
    ----------
    information
        Mutual information [nats] of the moving scan as it is (``straight``), with left and right
        exchanged (``mirrored``), with head and feet exchanged (``reversed_``).
    doubt
        Why the pair must not be believed; empty where nothing speaks against it.
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
    told = "; ".join(
        f"{finding.code}: {finding.sentence}; {finding.remedy}" for finding in side_findings(found)
    )
    return Sides(asdict(found), told)
