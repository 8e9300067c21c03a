"""Strain and displacement of bone by a deformation, as bone should move rigidly."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from synthct.data.volume import Displacement, Modality, Volume
from synthct.tasks.fields.jacobian import lengths_beyond, strain
from synthct.tasks.registration.job import BONE_HU

FEWEST_VOXELS, FEWEST_SHARE = 50, 0.002
"""Minimum amount of bone [voxels; fraction of the body] for evaluating its strain: a lung mask
holds about 50 voxels of rib and calcified vessels, whose strain caused rejection of a good step."""


@dataclass(frozen=True)
class BoneMotion:
    """Effect of a step on the bone of the CT; all 0 without a CT or without bone.

    Parameters
    ----------
    voxels
        Number of bone voxels on the working grid.
    strain
        Mean magnitude of the Green strain [1]: 0 for any rigid motion.
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
    """Motion of bone in the moved CT, else in the fixed CT; all inputs are on the working grid."""
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
