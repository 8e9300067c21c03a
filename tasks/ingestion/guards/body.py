"""Scans in which no body was found."""

from __future__ import annotations

from dataclasses import dataclass

from synthct.data.volume import Volume
from synthct.tasks.ingestion.findings import Code, Finding, Severity
from synthct.tasks.ingestion.guards import GUARDS

NO_BODY = Code(
    "no-body",
    Severity.REJECT,
    "no body was found in the image",
    "check the scan or set ingestion.body.threshold",
)
FILLS_BOX = Code("body-fills-box", Severity.NOTE, "the body fills the whole image (a tight crop)")


@GUARDS.register("body")
@dataclass(frozen=True)
class Body:
    """The body outline is neither a speck nor the whole box.

    Parameters
    ----------
    least_cm3
        Smallest volume of a part of a body [cm^3].
    most
        Largest part of the box; more means that threshold or scan is wrong, or a tight crop.
    """

    least_cm3: float = 50.0
    most: float = 0.99
    needs_mask: bool = True

    def __call__(self, scan: Volume, mask: Volume | None) -> tuple[Volume, list[Finding]]:
        """Compare the mask's volume with a body's and with the box."""
        if mask is None:
            return scan, []
        voxels = int((mask.array > 0).sum())
        volume_cm3 = voxels * mask.grid.voxel_mm3 / 1000
        if volume_cm3 < self.least_cm3:
            sentence = f"the body outline holds {volume_cm3:.0f} cm3"
            return scan, [NO_BODY.found(sentence)]
        if voxels > self.most * mask.array.size:
            sentence = f"the body fills {voxels / mask.array.size:.1%} of the image"
            return scan, [FILLS_BOX.found(sentence)]
        return scan, []
