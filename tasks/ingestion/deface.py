"""Removes faces from scans of the head: optional, for images that leave the clinic.

A surface rendering shows the skin of the front half of the head. That skin is replaced by air to
some depth, and the depth varies at random, so that the old surface cannot be inferred from the new
one. The result differs from the patient there: never plan dose on it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from synthct.data.orientation import nearest_axes
from synthct.data.volume import Modality, Volume
from synthct.tasks.ingestion.body import AIR_HU, body_mask
from synthct.tasks.ingestion.canonical import reoriented
from synthct.tasks.ingestion.params import BodyParams

DEPTH_MM = 25.0
"""Depth removed on average; nose, lips and eyelids rise less than this above the bone."""

DEPTH_SD_MM = 8.0
"""Standard deviation of the removed depth."""

FRONT = 0.45
"""Fraction of the head's depth (front to back) that counts as face."""


def defaced(volume: Volume) -> Volume:
    """The scan of a head with the front of its surface removed.

    Works in any orientation: the front is the patient's anterior side. The random depth depends
    on the array's shape alone.
    """
    upright = reoriented(volume)
    body = body_mask(upright, BodyParams(), "head-neck").array > 0
    face = face_of(body, upright.grid.spacing_mm)
    order, signs = nearest_axes(volume.grid)
    back = tuple(int(axis) for axis in np.argsort(order))
    steps = tuple(slice(None, None, sign) for sign in signs)
    there = face[steps].transpose(back)
    air = 0.0 if volume.modality is Modality.MR else AIR_HU
    return volume.with_array(np.where(there, np.asarray(air, volume.array.dtype), volume.array))


def face_of(body: NDArray[np.bool_], spacing_mm: tuple[float, float, float]) -> NDArray[np.bool_]:
    """Voxels (Z, Y, X; y to the back) in front of the new surface, air before the skin included."""
    depth, rows, columns = body.shape
    height_mm = np.arange(rows) * spacing_mm[1]
    present = body.any(axis=1)
    skin = np.where(present, body.argmax(axis=1) * spacing_mm[1], np.inf)
    last = np.where(present, (rows - body[:, ::-1].argmax(axis=1)) * spacing_mm[1], -np.inf)
    rng = np.random.default_rng(depth * 100_003 + rows * 1009 + columns)
    jag = ndimage.gaussian_filter(rng.normal(size=(depth, columns)), 1.5)
    jag = DEPTH_SD_MM * jag / max(float(jag.std()), 1e-9)
    front, rear = float(skin.min(initial=np.inf)), float(last.max(initial=-np.inf))
    if not np.isfinite([front, rear]).all():
        return np.zeros_like(body)
    limit = front + FRONT * (rear - front)
    cut = np.minimum(skin + np.clip(DEPTH_MM + jag, DEPTH_MM / 2, 2 * DEPTH_MM), limit)
    return np.asarray(height_mm[None, :, None] < np.where(present, cut, 0.0)[:, None, :])
