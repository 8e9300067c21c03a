"""Air at the right HU, tissue at the wrong one: a wrong slope."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from synthct.data.volume import Modality, Volume
from synthct.tasks.ingestion.findings import Code, Finding, Severity
from synthct.tasks.ingestion.guards import GUARDS

TISSUE_OFF = Code(
    "tissue-off",
    Severity.QUARANTINE,
    "soft tissue lies far from 0 HU although air is right: the rescale slope is wrong",
    "check the rescale slope",
)


@GUARDS.register("tissue")
@dataclass(frozen=True)
class Tissue:
    """The median of what is denser than lung in a body is soft tissue, fat or a mixture of them.

    Parameters
    ----------
    lowest_hu, highest_hu
        Where that median may lie in a CT [HU].
    slack_hu
        Further away that a cone-beam CT may be: its HU are known to be poor.
    """

    lowest_hu: float = -160.0
    highest_hu: float = 350.0
    slack_hu: float = 300.0
    needs_mask: bool = True

    def __call__(self, scan: Volume, mask: Volume | None) -> tuple[Volume, list[Finding]]:
        """Take the median inside the body outline."""
        if mask is None or scan.modality not in (Modality.CT, Modality.CBCT):
            return scan, []
        slack = self.slack_hu if scan.modality is Modality.CBCT else 0.0
        dense = scan.array[(mask.array > 0) & (scan.array > -400)]
        if dense.size < 1000:
            return scan, []
        typical = float(np.median(dense))
        if self.lowest_hu - slack <= typical <= self.highest_hu + slack:
            return scan, []
        return scan, [TISSUE_OFF.found(f"soft tissue lies at about {typical:.0f} HU")]
