"""The body outline of a CT, MR or CBCT: computed, or taken from a mask supplied with the scan."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy import ndimage

from synthct.data.volume import Modality, Volume
from synthct.tasks.ingestion.findings import Code, Finding, Severity
from synthct.tasks.ingestion.params import BodyParams

AIR_HU = -1000.0

DARK_MR = 0.05
"""Air in MR is at most this fraction of the 97.5th percentile; a crop may contain little air."""


def body_mask(volume: Volume, params: BodyParams, region: str) -> Volume:
    """Mask of the body without couch and surrounding air; lungs and gas are part of it.

    Threshold ``low + t (p97.5 - low)``, where ``low`` is the 2.5th percentile but not brighter
    than air; opening; large components; thin parts of the body that the opening removed; closing;
    holes filled in each axial slice. The mask is extended beyond the faces of the box, so that a
    body cut by the field of view is not rounded.
    """
    threshold = body_threshold(volume, params.of(region).of(volume.modality))
    inside = volume.array > threshold
    spacing = volume.grid.spacing_mm
    opened = _opened(inside, _radius(params.opening_mm, spacing))
    body = large_parts(opened, params.keep_fraction)
    if params.thin_parts_mm:
        body |= thin_parts(inside, body, spacing, params.thin_parts_mm)
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


def thin_parts(
    inside: NDArray[np.bool_],
    body: NDArray[np.bool_],
    spacing_mm: tuple[float, float, float],
    longest_mm: float,
) -> NDArray[np.bool_]:
    """Parts of ``inside`` that lie at the opened body and in two slices or more.

    Each is at most ``longest_mm`` long along each axis.

    A layer of one voxel around the body is set aside first: it is rough all over, and would join
    an ear to everything else. It comes back where a part touches it.
    """
    skin = _dilated(body)
    labels, count = ndimage.label(inside & ~skin, np.ones((3, 3, 3), bool))
    kept = np.zeros(inside.shape, bool)
    for number, box in enumerate(ndimage.find_objects(labels, count), start=1):
        sides = [(one.stop - one.start) * step for one, step in zip(box, spacing_mm, strict=True)]
        flat = box[0].stop - box[0].start < 2  # letters drawn into one slice are not anatomy
        if max(sides) > longest_mm or flat:
            continue
        wide = tuple(slice(max(0, one.start - 2), one.stop + 2) for one in box)
        part = labels[wide] == number
        root = _dilated(part) & skin[wide]  # a gap of one voxel is noise
        if root.any():
            kept[wide] |= part | (_dilated(root) & skin[wide] & inside[wide])
    return kept


def _dilated(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """By one voxel along each axis and diagonal."""
    grown = mask
    for axis in range(mask.ndim):
        grown = ndimage.binary_dilation(grown, _line(axis, mask.ndim))
    return np.asarray(grown)


def _line(axis: int, axes: int) -> NDArray[np.bool_]:
    shape = [1] * axes
    shape[axis] = 3
    return np.ones(shape, bool)


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


GIVEN = Code("given-mask", Severity.NOTE, "the body mask supplied with the scan is used")
NOT_BODY = Code(
    "given-mask-unfit",
    Severity.NOTE,
    "the mask supplied with the scan is not an outline of its body: the computed outline is used",
    "look at the mask",
)

MIN_INSIDE = 0.6
"""Smallest fraction of a body mask that is body: published masks are dilated by a few mm."""

MIN_SHARE_OF_BODY = 0.3
"""Smallest fraction of the body in the mask: one cut to a CBCT's cylinder has it, a tumour not."""

MAX_SHARE_OF_BOX = 0.99
"""A mask that fills more of the box is not an outline, unless the computed one does so too."""


def choose_mask(computed: Volume, given: Volume | None) -> tuple[Volume, list[Finding]]:
    """The given mask if it outlines the body, else the computed one; findings on the given one.

    The Dice coefficient is 2 |A and B| / (|A| + |B|).
    """
    if given is None:
        return computed, []
    if not given.grid.is_close(computed.grid, tolerance_mm=0.1):
        return computed, [NOT_BODY.found("the given mask is not on the grid of the scan")]
    body, mask = computed.array > 0, given.array > 0
    both, in_body, in_mask = (int(np.count_nonzero(one)) for one in (body & mask, body, mask))
    agreement = f"Dice with the computed outline {2 * both / max(in_body + in_mask, 1):.3f}"
    fills = in_mask > MAX_SHARE_OF_BOX * mask.size >= in_body
    if fills or both < MIN_INSIDE * in_mask or both < MIN_SHARE_OF_BODY * in_body or not in_mask:
        return computed, [NOT_BODY.found(f"the given mask does not fit the body: {agreement}")]
    outline = computed.with_array(mask.astype(np.uint8))
    return outline, [GIVEN.found(f"the given body mask is used; {agreement}")]
