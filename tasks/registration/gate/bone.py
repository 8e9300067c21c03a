"""Bone does not bend: how much a deformation strains and moves it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from synthct.data.volume import Displacement, Modality, Volume
from synthct.tasks.fields.jacobian import lengths_beyond, strain
from synthct.tasks.registration.job import BONE_HU

FEWEST_VOXELS, FEWEST_SHARE = 50, 0.002
"""Less bone than this, or than this share of the body, says nothing: a lung's mask holds specks of
rib and calcified vessels, half a hundred voxels whose strain threw a good step away."""


@dataclass(frozen=True)
class BoneMotion:
    """What a step does to the bone of the CT; all 0 where neither scan is a CT or shows bone.

    Parameters
    ----------
    voxels
        Of bone on the working grid.
    strain
        Mean size of the Green strain [1]: 0 for rigid bones, wherever they went.
    local_p95_mm
        95th percentile of the displacement beyond the rigid step [mm].
    """

    voxels: int = 0
    strain: float = 0.0
    local_p95_mm: float = 0.0


def bone_motion(
    fixed: Volume,
    moved: Volume,
    body: NDArray[np.bool_],
    displacement: Displacement,
    rigid: Displacement | None,
) -> BoneMotion:
    """Of the bone in the moved CT, else in the fixed CT; everything lies on the working grid."""
    scan = next((scan for scan in (moved, fixed) if scan.modality is Modality.CT), None)
    if scan is None:
        return BoneMotion()
    bone = (np.asarray(scan.array) > BONE_HU) & body
    count = int(bone.sum())
    if count < max(FEWEST_VOXELS, FEWEST_SHARE * float(body.sum())):
        return BoneMotion(voxels=count)
    local = 0.0
    if rigid is not None:
        local = float(np.percentile(lengths_beyond(displacement, rigid, bone), 95))
    return BoneMotion(count, float(strain(displacement, bone).mean()), local)
