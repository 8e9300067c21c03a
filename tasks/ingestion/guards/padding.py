"""Values below air that fill what the scanner did not reconstruct."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from synthct.data.volume import Modality, Volume
from synthct.tasks.ingestion.findings import Code, Finding, Severity
from synthct.tasks.ingestion.guards import GUARDS

PADDING = Code("padding", Severity.REPAIR, "fill values far below air became air")


@GUARDS.register("padding")
@dataclass(frozen=True)
class Padding:
    """Fill values far below vacuum become air; noise around -1000 HU stays as it was measured.

    Parameters
    ----------
    below_hu
        Lower than any noise of air: these voxels were not measured.
    air_hu
        What they become.
    """

    below_hu: int = -1300
    air_hu: int = -1024
    needs_mask: bool = False

    def __call__(self, scan: Volume, mask: Volume | None) -> tuple[Volume, list[Finding]]:
        """Replace them, and say how many."""
        if scan.modality not in (Modality.CT, Modality.CBCT):
            return scan, []
        below = scan.array < self.below_hu
        count = int(below.sum())
        if count == 0:
            return scan, []
        lowest = float(scan.array.min())
        air = np.asarray(self.air_hu, dtype=scan.array.dtype)
        sentence = (
            f"{count} voxels ({count / scan.array.size:.2%}, lowest {lowest:.0f} HU) "
            f"were fill values and became {self.air_hu} HU"
        )
        finding = PADDING.found(sentence)
        return scan.with_array(np.where(below, air, scan.array)), [finding]
