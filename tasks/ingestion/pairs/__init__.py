"""Guards of a pair: what only two scans of one patient, laid over each other, can tell."""

from __future__ import annotations

from synthct.data.volume import Volume
from synthct.tasks.ingestion.findings import Finding
from synthct.tasks.ingestion.pairs.frames import frame_findings
from synthct.tasks.ingestion.pairs.sides import fits, side_findings


def pair_findings(
    source: tuple[Volume, Volume], ct: tuple[Volume, Volume], frames: tuple[str, str]
) -> list[Finding]:
    """What a source scan and the CT of its patient say about each other.

    Parameters
    ----------
    source, ct
        Upright scan and body mask of each.
    frames
        FrameOfReferenceUID of source and CT; empty where not said.
    """
    found = frame_findings(source[1], ct[1], *frames)
    return [*found, *side_findings(fits(source[0], source[1], ct[0]))]
