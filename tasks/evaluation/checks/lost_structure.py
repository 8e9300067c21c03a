"""Check for erased structures: a connected piece of bone that is missing in the prediction."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import distance_transform_edt, label

from synthct.tasks.evaluation.checks import CHECKS
from synthct.tasks.evaluation.evidence import Evidence, Finding
from synthct.tasks.evaluation.pair import Mask


@CHECKS.register("lost_structure")
@dataclass(frozen=True)
class LostStructure:
    """Volume of the largest connected piece of the reference's bone without bone nearby [ml].

    Bone is above ``bone_hu`` in the reference and above ``found_hu`` in the prediction. Voxels of
    the reference's bone farther than ``reach_mm`` from any bone of the prediction are lost; an
    erased vertebra is lost, thin misplaced edges are not. No segmentation is needed.

    Parameters
    ----------
    most_ml
        A larger lost piece is suspect [ml].
    least_voxels
        It must also have more voxels than this: on coarse grids a few voxels fall below the
        threshold by partial volume.
    """

    bone_hu: float = 250.0
    found_hu: float = 150.0
    reach_mm: float = 4.0
    most_ml: float = 0.5
    least_voxels: int = 27

    def __call__(self, evidence: Evidence) -> Finding:
        """Examine the evidence."""
        pair = evidence.pair
        bone = pair.mask & (pair.reference > self.bone_hu)
        found = pair.mask & (pair.prediction > self.found_hu)
        voxel_ml = float(np.prod(pair.spacing_mm)) / 1000
        value = largest_ml(
            bone & _without_bone_nearby(found, pair.spacing_mm, self.reach_mm), voxel_ml
        )
        limit = max(self.most_ml, self.least_voxels * voxel_ml)
        return Finding(
            "lost_structure", value, limit, "ml", value > limit,
            f"largest piece of bone without bone within {self.reach_mm:g} mm in the prediction",
        )  # fmt: skip


def _without_bone_nearby(
    found: Mask, spacing_mm: tuple[float, float, float], reach_mm: float
) -> Mask:
    if not found.any():
        return np.ones_like(found)
    return np.asarray(distance_transform_edt(~found, sampling=spacing_mm) > reach_mm)


def largest_ml(mask: Mask, voxel_ml: float) -> float:
    """Volume of the largest 26-connected piece [ml]."""
    parts, count = label(mask, np.ones((3, 3, 3)))
    return float(np.bincount(parts.ravel())[1:].max()) * voxel_ml if count else 0.0
