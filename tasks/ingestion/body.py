"""The body outline of a CT, MR or CBCT."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy import ndimage

from synthct.data.volume import Modality, Volume
from synthct.tasks.ingestion.params import BodyParams

AIR_HU = -1000.0

DARK_MR = 0.05
"""Air in MR is at most this part of the 97.5th percentile: a crop may hold hardly any air."""


def body_mask(volume: Volume, params: BodyParams, region: str) -> Volume:
    """Mask of the body: no couch, no air around; lungs and gas belong to it.

    Threshold ``low + t (p97.5 - low)``, where ``low`` is the 2.5th percentile but not brighter
    than air; opening; large components; closing; holes filled in each axial slice. The outline is
    continued beyond the faces of the box, so a body cut by the field of view is not rounded there.
    """
    threshold = body_threshold(volume, params.of(region).of(volume.modality))
    inside = volume.array > threshold
    spacing = volume.grid.spacing_mm
    opened = _opened(inside, _radius(params.opening_mm, spacing))
    body = large_parts(opened, params.keep_fraction)
    closed = _closed(body, _radius(params.closing_mm, spacing))
    filled = np.stack([ndimage.binary_fill_holes(plane) for plane in closed])
    return volume.with_array(filled.astype(np.uint8), Modality.MASK)


def body_threshold(volume: Volume, fraction: float) -> float:
    """The intensity that separates air from tissue."""
    low, high = (float(v) for v in np.percentile(volume.array, (2.5, 97.5)))
    air = DARK_MR * high if volume.modality is Modality.MR else AIR_HU
    low = min(low, air)
    return low + fraction * (high - low)


def _radius(radius_mm: float, spacing: tuple[float, float, float]) -> tuple[int, int, int]:
    z, y, x = (round(radius_mm / step) for step in spacing)
    return z, y, x


def _opened(mask: NDArray[np.bool_], radius: tuple[int, int, int]) -> NDArray[np.bool_]:
    padded = np.pad(mask, [(r, r) for r in radius], mode="edge")
    image = sitk.GetImageFromArray(padded.astype(np.uint8))
    opened = sitk.BinaryMorphologicalOpening(image, radius[::-1], sitk.sitkBall)
    return _unpadded(sitk.GetArrayFromImage(opened), radius)


def _closed(mask: NDArray[np.bool_], radius: tuple[int, int, int]) -> NDArray[np.bool_]:
    padded = np.pad(mask, [(r, r) for r in radius], mode="edge")
    image = sitk.GetImageFromArray(padded.astype(np.uint8))
    closed = sitk.BinaryMorphologicalClosing(image, radius[::-1], sitk.sitkBall)
    return _unpadded(sitk.GetArrayFromImage(closed), radius)


def _unpadded(array: NDArray[np.uint8], radius: tuple[int, int, int]) -> NDArray[np.bool_]:
    inner = tuple(slice(r, size - r) for r, size in zip(radius, array.shape, strict=True))
    return np.asarray(array[inner] > 0)


def large_parts(mask: NDArray[np.bool_], keep_fraction: float) -> NDArray[np.bool_]:
    """Connected components of at least ``keep_fraction`` of the largest one."""
    labels, count = ndimage.label(mask)
    if count == 0:
        return mask
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    keep = sizes >= keep_fraction * sizes.max()
    keep[0] = False
    return np.asarray(keep[labels])
