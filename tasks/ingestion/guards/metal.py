"""Metal in CT and CBCT: streaks make the HU around it unreliable."""

from __future__ import annotations

from dataclasses import dataclass

from synthct.data.volume import Modality, Volume
from synthct.tasks.ingestion.findings import Code, Finding, Severity
from synthct.tasks.ingestion.guards import GUARDS

METAL = Code("metal", Severity.NOTE, "metal: streaks make the HU around it unreliable")


@GUARDS.register("metal")
@dataclass(frozen=True)
class Metal:
    """More than a little above the densest bone and enamel is metal.

    Parameters
    ----------
    above_hu
        Denser than enamel.
    least_cm3
        Volume from which it is noted [cm^3].
    """

    above_hu: float = 2800.0
    least_cm3: float = 0.05
    needs_mask: bool = False

    def __call__(self, scan: Volume, mask: Volume | None) -> tuple[Volume, list[Finding]]:
        """Measure the volume of dense voxels."""
        if scan.modality is Modality.MR:
            return scan, []
        volume_cm3 = float((scan.array > self.above_hu).sum()) * scan.grid.voxel_mm3 / 1000
        if volume_cm3 < self.least_cm3:
            return scan, []
        sentence = f"{volume_cm3:.2f} cm3 above {self.above_hu:.0f} HU (metal)"
        return scan, [METAL.found(sentence)]
