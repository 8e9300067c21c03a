"""Agreement of a synthetic CT with the anatomy of its own source scan; no CT is needed.

A model trained on misaligned pairs draws the CT's anatomy where the source has none, and a score
against an equally misaligned CT rewards that. These measures compare with the source instead.
"""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects, gaussian_filter

from synthct.tasks.evaluation.pair import Floats, Mask, Measured
from synthct.tasks.evaluation.structures.overlap import dice

AIR_HU = -300.0
"""Voxels below this value give neither MR signal nor CBCT attenuation."""

DARK_BONE_HU = 400.0
"""Bone at least this dense is dark on MR (its T2 is below 1 ms), bright on CBCT."""

MIN_VOID_SHARE = 1e-3
"""Smallest void share of the mask for which the overlap of voids is meaningful."""

START = (0, 0, 0)

REACH = 2
"""Largest offset tried along each axis [voxels]."""

MARGIN = 6
"""Voxels kept around the mask: four of the Gaussian, one of the gradient, one to spare."""

EDGE_SHARE = 0.5
"""The parameter epsilon of the edge directions, as a share of the mean gradient: weaker edges
hardly count."""


class SourceAnatomy:
    """Edges and dark voxels of one source scan, with which synthetic CTs of it are compared.

    Parameters
    ----------
    source, mask
        MR or CBCT [a.u., HU] and body mask on one grid (Z, Y, X).
    modality
        ``mr`` or ``cbct``: determines which tissues are dark.
    """

    def __init__(
        self, source: NDArray[Any], mask: Mask, *, modality: str,
        spacing_mm: tuple[float, float, float],
    ) -> None:  # fmt: skip
        self.modality, self.spacing_mm = modality, spacing_mm
        self.large_enough = min(source.shape) >= 2 * REACH + 3
        self._box = _box_around(mask)
        self.source, self.mask = source[self._box], mask[self._box]
        if self.large_enough:
            self._edges = _directions(self.source, self.mask, spacing_mm)

    def compare(self, sct: NDArray[Any]) -> Measured:
        """``source_edges``, ``source_offset_mm``, ``source_void_dice`` of a CT [HU] (Z, Y, X)."""
        edges, offset_mm = self.edge_agreement(sct)
        void = void_dice(self.source, sct[self._box], self.mask, self.modality)
        return Measured(
            {"source_edges": edges, "source_offset_mm": offset_mm, "source_void_dice": void}
        )

    def edge_agreement(self, sct: NDArray[Any]) -> tuple[float | None, float | None]:
        r"""Mean :math:`(n_s \cdot n_p)^2` of the edge directions, and offset of its maximum [mm].

        :math:`n = \nabla I / \sqrt{|\nabla I|^2 + \varepsilon^2}` after a Gaussian of one voxel:
        the contrast between modalities does not matter, the direction of edges does. The offset is
        the length of the whole-voxel shift (within two voxels an axis) with the best agreement: 0
        for a synthetic CT that lies on its source.

        References
        ----------
        Haber & Modersitzki, MICCAI (2006) 726-733.
        """
        if not self.large_enough:
            return None, None
        directions = _directions(sct[self._box], self.mask, self.spacing_mm)
        found: dict[tuple[int, int, int], float | None] = {}
        best, at = -1.0, START
        for _ in range(2):
            for axis, step in product(range(3), range(-REACH, REACH + 1)):
                tried = _with(at, axis, step)
                if tried not in found:
                    found[tried] = _agreement(self._edges, directions, self.mask, tried)
                value = found[tried]
                if value is not None and value > best + 1e-12:
                    best, at = value, tried
        length = float(np.linalg.norm(np.asarray(at) * np.asarray(self.spacing_mm)))
        here = found[START]
        return here, None if here is None else length


def void_dice(source: NDArray[Any], sct: NDArray[Any], mask: Mask, modality: str) -> float | None:
    """Dice of the void voxels of the synthetic CT and the same number of darkest source voxels.

    Void means air and lung, on MR also dense bone. As both sets have the same size, no threshold
    on the source's arbitrary unit is needed. Dark fluid keeps the value below 1; compare it
    between methods on the same source. None if less than 0.1 % of the mask is void.
    """
    void = mask & (sct < AIR_HU)
    if modality == "mr":
        void |= mask & (sct > DARK_BONE_HU)
    count = int(np.count_nonzero(void))
    values = source[mask].astype(np.float64)
    if count < max(1, MIN_VOID_SHARE * values.size):
        return None
    limit = np.partition(values, count - 1)[count - 1]
    return dice(mask & (source <= limit), void)


def _box_around(mask: Mask) -> tuple[slice, ...]:
    """The mask's bounding box with the voxels that the smoothed gradient inside it depends on."""
    (box,) = find_objects(mask.astype(np.uint8))
    return tuple(slice(max(0, side.start - MARGIN), side.stop + MARGIN) for side in box)


def _directions(image: NDArray[Any], mask: Mask, spacing_mm: tuple[float, float, float]) -> Floats:
    smooth = gaussian_filter(np.where(mask, image, image[mask].mean()).astype(np.float64), 1.0)
    slopes = np.stack(list(np.gradient(smooth, *spacing_mm)))
    strength = np.sqrt((slopes**2).sum(axis=0))
    floor = max(EDGE_SHARE * float(strength[mask].mean()), 1e-12)
    return np.asarray(slopes / np.sqrt(strength**2 + floor**2))


def _with(at: tuple[int, int, int], axis: int, step: int) -> tuple[int, int, int]:
    z, y, x = (step if number == axis else old for number, old in enumerate(at))
    return z, y, x


def _agreement(first: Floats, second: Floats, mask: Mask, at: tuple[int, int, int]) -> float | None:
    """Agreement of ``first[x]`` with ``second[x + at]`` where both lie in the mask."""
    here = tuple(slice(max(0, -d), min(n, n - d)) for d, n in zip(at, mask.shape, strict=True))
    there = tuple(slice(s.start + d, s.stop + d) for s, d in zip(here, at, strict=True))
    both = mask[here] & mask[there]
    if not both.any():
        return None
    inner = first[0][here] * second[0][there]
    for one, other in zip(first[1:], second[1:], strict=True):
        inner += one[here] * other[there]
    return float((inner[both] ** 2).mean())
