"""Overlap of bone in the synthetic CT and in the reference, both by one threshold."""

from __future__ import annotations

from dataclasses import dataclass

from synthct.tasks.evaluation.metrics import METRICS
from synthct.tasks.evaluation.pair import MaskedPair, Measured
from synthct.tasks.evaluation.profiles import HU_BANDS
from synthct.tasks.evaluation.structures.overlap import dice


@METRICS.register("bone_dice")
@dataclass(frozen=True)
class BoneDice:
    r"""Dice coefficient :math:`2|A \cap B| / (|A| + |B|)` of the masked voxels above ``bone_hu``.

    For real patients, who have no label maps. It counts calcifications and contrast as bone, in
    both images alike.

    Parameters
    ----------
    bone_hu
        Threshold [HU].
    least_voxels
        With fewer voxels above it in the reference there is no value.
    """

    bone_hu: float = HU_BANDS["bone"][0]
    least_voxels: int = 50

    def __call__(self, pair: MaskedPair) -> Measured:
        """Measure the pair: ``bone_dice``."""
        reference = (pair.reference >= self.bone_hu) & pair.mask
        if int(reference.sum()) < self.least_voxels:
            return Measured({"bone_dice": None}, ("bone_dice: there is hardly any bone",))
        return Measured(
            {"bone_dice": dice(reference, (pair.prediction >= self.bone_hu) & pair.mask)}
        )
