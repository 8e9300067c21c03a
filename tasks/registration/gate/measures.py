"""Quality measures of one registration step, as used by the gate."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from synthct.data.itk import resample
from synthct.data.volume import Displacement, Grid, Modality, Volume
from synthct.tasks.fields.geometry import displacement_of, grown
from synthct.tasks.fields.jacobian import DeformationQuality, deformation_quality, lengths_beyond
from synthct.tasks.registration.agreement import (
    gradient_agreement,
    normalised_mutual_information,
    overlap_dice,
)
from synthct.tasks.registration.bone import BoneMotion, bone_darkness, bone_motion
from synthct.tasks.registration.scan_pair import ScanPair, whole_field

AIR_HU = -1024.0
"""CT number assigned outside the field of view [HU]."""

AIR_MM = 8.0
"""Distance outside the moved body beyond which a voxel counts as air [mm]: two voxels of the demo's
working grid, as evaluation's check ``mask_air`` allows two."""

CT_RANGE_HU = (-1024.0, 3071.0)
"""Range of a stored CT [HU]."""


@dataclass(frozen=True)
class StepMeasures:
    """Quality measures of one step inside the body of the source.

    Parameters
    ----------
    information
        Normalised mutual information, independent for methods that optimise another measure [1].
    edges
        Gradient agreement, an independent measure, as no method optimises it [1].
    dice
        Dice of the bodies of the source and the moved CT in the common field of view [1].
    covered
        Share of the source's body inside the field of view of the moved CT [1].
    local_p95_mm
        95th percentile of the displacement beyond the rigid step [mm].
    deformation
        Folding, roughness and magnitude of the deformation.
    bone
        Strain and displacement of bone in the CT.
    air
        Share of the source's body in the common field of view that is more than ``AIR_MM`` outside
        the moved body [1]: there, training and scores would use air.
    outside
        The same share without a tolerance [1].
    bone_darkness
        Probability that dense bone is darker in the MR than soft tissue near it [1]; None for
        other pairs or without bone.
    """

    information: float
    edges: float
    dice: float
    covered: float
    local_p95_mm: float
    deformation: DeformationQuality
    bone: BoneMotion = field(default_factory=BoneMotion)
    air: float = 0.0
    outside: float = 0.0
    bone_darkness: float | None = None


@dataclass(frozen=True, eq=False)
class Moved:
    """The moving scan resampled with a transform on the working grid."""

    scan: Volume
    body: Volume
    field: Volume
    displacement: Displacement


def move(pair: ScanPair, grid: Grid, transform: sitk.Transform) -> Moved:
    """Resample the moving scan, its body and its field of view on the working grid."""
    seen = whole_field(pair.moving)
    return Moved(
        scan=moved_scan(pair, grid, transform),
        body=resample(pair.moving_body, grid, transform=transform, outside=0, nearest=True),
        field=resample(seen, grid, transform=transform, outside=0, nearest=True),
        displacement=displacement_of(transform, grid),
    )


def moved_scan(pair: ScanPair, grid: Grid, transform: sitk.Transform) -> Volume:
    """Only the moving scan, resampled on the working grid."""
    outside = AIR_HU if pair.moving.modality == Modality.CT else float(pair.moving.array.min())
    return resample(pair.moving, grid, transform=transform, outside=outside)


def measure(
    source: Volume, body: Volume, moved: Moved, rigid: Displacement | None = None
) -> StepMeasures:
    """Quality measures of one step; ``source`` and ``body`` are on the working grid.

    ``rigid`` is the displacement that the step refines.
    """
    inside = np.asarray(body.array) > 0
    seen = np.asarray(moved.field.array) > 0
    local = 0.0
    if rigid is not None:
        local = float(np.percentile(lengths_beyond(moved.displacement, rigid, inside), 95))
    return StepMeasures(
        information=normalised_mutual_information(source.array, moved.scan.array, inside),
        edges=gradient_agreement(source.array, moved.scan.array, inside, source.grid.spacing_mm),
        dice=overlap_dice(inside & seen, np.asarray(moved.body.array) > 0),
        covered=float((inside & seen).sum() / inside.sum()),
        local_p95_mm=local,
        deformation=deformation_quality(moved.displacement, inside),
        bone=bone_motion(source, moved.scan, inside, moved.displacement, rigid),
        air=air_share(inside & seen, moved.body),
        outside=air_share(inside & seen, moved.body, 0.0),
        bone_darkness=bone_darkness(source, moved.scan, inside & seen),
    )


def air_share(mask: NDArray[np.bool_], moved_body: Volume, tolerance_mm: float = AIR_MM) -> float:
    """Share of the mask (Z, Y, X) more than ``tolerance_mm`` outside the moved body [1].

    0 for an empty mask.
    """
    near = np.asarray(moved_body.array) > 0
    if tolerance_mm > 0:
        near = np.asarray(grown(moved_body.array, moved_body.grid.spacing_mm, tolerance_mm)) > 0
    count = int(np.count_nonzero(mask))
    return int(np.count_nonzero(mask & ~near)) / count if count else 0.0


def as_ct(volume: Volume) -> Volume:
    """CT numbers as stored: rounded to int16 and clipped to ``CT_RANGE_HU``."""
    return volume.with_array(
        np.clip(np.rint(volume.array), *CT_RANGE_HU).astype(np.int16), Modality.CT
    )
