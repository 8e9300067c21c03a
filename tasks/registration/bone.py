"""Effect of a registration on bone: strain, displacement, and agreement with dark bone in MR."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import label
from scipy.stats import rankdata

from synthct.data.volume import Displacement, Modality, Triple, Volume
from synthct.tasks.fields.geometry import grown
from synthct.tasks.fields.jacobian import lengths_beyond, strain
from synthct.tasks.registration.job import BONE_HU

MIN_VOXELS, MIN_SHARE = 50, 0.002
"""Minimum amount of bone [voxels; fraction of the body] for evaluating its strain: a lung mask
holds about 50 voxels of rib and calcified vessels, whose strain caused rejection of a good step."""

CORTEX_HU = 500.0
"""CT number above which bone is dense enough to give no MR signal [HU]."""

SHELL_MM = (3.0, 8.0)
"""Distance from dense bone of the soft tissue that it is compared with [mm]: the nearer part holds
partial volume and the error of a good registration."""

SOFT_HU = (-200.0, 200.0)
"""CT numbers of fat, muscle, organs and marrow [HU]."""

LARGE_ML = 1.0
"""Volume from which a connected part of dense bone counts [ml]: calcifications, streaks of metal
and bits of cortex at the edge of the field of view do not."""


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
    if count < max(MIN_VOXELS, MIN_SHARE * float(body.sum())):
        return BoneMotion(voxels=count)
    local = 0.0
    if rigid is not None:
        local = float(np.percentile(lengths_beyond(displacement, rigid, bone), 95))
    return BoneMotion(count, float(strain(displacement, bone).mean()), local)


def bone_darkness(fixed: Volume, moved: Volume, body: NDArray[np.bool_]) -> float | None:
    r"""How well the MR shows dense bone where the CT has it: 1 perfectly, 0.5 by chance [1].

    Cortical bone gives no signal in any clinical MR sequence (T2 below 1 ms), while fat, muscle,
    marrow and most organs do. The measure is the probability that a voxel of dense bone is darker
    in the MR than a voxel of soft tissue near it,

    .. math:: P(m_b < m_s) + \tfrac12 P(m_b = m_s),

    the area under the ROC curve, from ranks (Mann and Whitney). It uses no contrast but this one,
    which no similarity measure optimises as such.

    Parameters
    ----------
    fixed, moved
        An MR and a CT, or the reverse, on one grid (Z, Y, X).
    body
        Voxels that count.

    Returns
    -------
    float or None
        None without an MR, a CT, or enough bone in large parts (``LARGE_ML`` each).

    References
    ----------
    Mann & Whitney, Ann. Math. Stat. 18 (1947) 50-60, doi:10.1214/aoms/1177730491.
    """
    scans = {scan.modality: np.asarray(scan.array) for scan in (fixed, moved)}
    if scans.keys() != {Modality.CT, Modality.MR}:
        return None
    ct, mr = scans[Modality.CT], scans[Modality.MR]
    spacing_mm = fixed.grid.spacing_mm
    bone = large_bone(ct, spacing_mm)
    inner, outer = (grown(bone, spacing_mm, reach) > 0 for reach in SHELL_MM)
    shell = outer & ~inner & body & (ct > SOFT_HU[0]) & (ct < SOFT_HU[1])
    bone &= body
    dark, bright = mr[bone], mr[shell]
    if min(dark.size, bright.size) < MIN_VOXELS:
        return None
    ranks = rankdata(np.concatenate([dark, bright]))[: dark.size]
    larger = float(ranks.sum()) - dark.size * (dark.size + 1) / 2
    return 1.0 - larger / (dark.size * bright.size)


def large_bone(ct: NDArray[Any], spacing_mm: Triple) -> NDArray[np.bool_]:
    """Dense bone of a CT (Z, Y, X) [HU] in connected parts of at least ``LARGE_ML``."""
    parts, _ = label(ct > CORTEX_HU)
    kept = np.bincount(parts.ravel()) * float(np.prod(spacing_mm)) >= 1000 * LARGE_ML
    kept[0] = False
    found: NDArray[np.bool_] = kept[parts]
    return found
