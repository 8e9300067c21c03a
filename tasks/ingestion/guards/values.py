"""Values that are not those of the modality: padding, another modality, metal, a wrong slope."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from synthct.data.volume import Modality, Volume
from synthct.tasks.ingestion.findings import Code, Finding, Severity
from synthct.tasks.ingestion.guards import GUARDS

PADDING = Code("padding", Severity.REPAIR, "fill values far below air became air")


@GUARDS.register("padding")
@dataclass(frozen=True)
class Padding:
    """Fill values far below air become air; noise around -1000 HU is kept.

    Parameters
    ----------
    below_hu
        Lower values are fill values; noise of air does not reach it.
    air_hu
        Value that replaces them.
    """

    below_hu: int = -1300
    air_hu: int = -1024
    needs_mask: ClassVar[bool] = False

    def __call__(self, scan: Volume, mask: Volume | None) -> tuple[Volume, list[Finding]]:
        """Replace fill values and count them."""
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


WRONG = Code(
    "wrong-modality",
    Severity.QUARANTINE,
    "the voxels contradict the modality: CT has air at -1000, MR has no negative air",
    "check which scan is which",
)


@GUARDS.register("modality")
@dataclass(frozen=True)
class WrongModality:
    """CT has air at -1000; MR has not."""

    needs_mask: ClassVar[bool] = False

    def __call__(self, scan: Volume, mask: Volume | None) -> tuple[Volume, list[Finding]]:
        """Check the dark end of the histogram."""
        dark, low = (float(v) for v in np.percentile(scan.array[::2, ::2, ::2], (1, 5)))
        if scan.modality is Modality.MR and -1100 < dark < -900:
            sentence = f"an MR whose darkest voxels are {dark:.0f}, like air in CT"
            return scan, [WRONG.found(sentence)]
        if scan.modality is not Modality.MR and dark >= 0 and low < 20:
            sentence = f"a {scan.modality} without negative values, like an MR"
            return scan, [WRONG.found(sentence)]
        return scan, []


METAL = Code("metal", Severity.NOTE, "metal: streaks make the HU around it unreliable")


@GUARDS.register("metal")
@dataclass(frozen=True)
class Metal:
    """Voxels denser than enamel are metal.

    Parameters
    ----------
    above_hu
        Least CT number of metal.
    least_cm3
        Volume from which it is noted [cm^3].
    """

    above_hu: float = 2800.0
    least_cm3: float = 0.05
    needs_mask: ClassVar[bool] = False

    def __call__(self, scan: Volume, mask: Volume | None) -> tuple[Volume, list[Finding]]:
        """Measure the volume of dense voxels."""
        if scan.modality is Modality.MR:
            return scan, []
        volume_cm3 = float((scan.array > self.above_hu).sum()) * scan.grid.voxel_mm3 / 1000
        if volume_cm3 < self.least_cm3:
            return scan, []
        sentence = f"{volume_cm3:.2f} cm3 above {self.above_hu:.0f} HU (metal)"
        return scan, [METAL.found(sentence)]


TISSUE_OFF = Code(
    "tissue-off",
    Severity.QUARANTINE,
    "soft tissue is far from 0 HU although air is right: the rescale slope is wrong",
    "check the rescale slope",
)


@GUARDS.register("tissue")
@dataclass(frozen=True)
class Tissue:
    """The median of the voxels denser than lung is that of soft tissue, fat or a mixture of them.

    Parameters
    ----------
    lowest_hu, highest_hu
        Limits of that median in a CT.
    slack_hu
        Extension of both limits for cone-beam CT, whose HU are less accurate.
    """

    lowest_hu: float = -160.0
    highest_hu: float = 350.0
    slack_hu: float = 300.0
    needs_mask: ClassVar[bool] = True

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
        return scan, [TISSUE_OFF.found(f"soft tissue is at about {typical:.0f} HU")]
