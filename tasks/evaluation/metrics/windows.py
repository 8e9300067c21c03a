"""Similarity in 7 x 7 x 7 windows, plane by plane, shared by SSIM and MS-SSIM.

Both scores drop the three outermost voxels of each side, so no window extends beyond the border,
and both average inside the mask, so windows are formed only over the mask's bounding box. Per
plane the four fields x, y, x^2 + y^2 and xy are summed along y and x by doubling (1 + 1, 2 + 2,
4 + 2 + 1 voxels) and along z as a running sum; the working set stays in the processor's cache.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from synthct.tasks.evaluation.pair import Floats, Mask

WINDOW = 7
"""Edge of the window [voxels]."""

RADIUS = WINDOW // 2
"""Voxels dropped at each side, as the published scores do."""

VOXELS = WINDOW**3
K1, K2 = 0.01, 0.03
"""Stabilisers of SSIM: C1 = (K1 R)^2, C2 = (K2 R)^2 (Wang et al., IEEE TIP 13 (2004) 600)."""

Box = tuple[slice, slice, slice]


def mask_box(mask: Mask) -> Box | None:
    """Bounding box of the mask without its border of three voxels; None if that is empty."""
    if min(mask.shape) < WINDOW:
        return None
    inner = mask[RADIUS:-RADIUS, RADIUS:-RADIUS, RADIUS:-RADIUS]
    sides = []
    for axis in range(3):
        rest = tuple(other for other in range(3) if other != axis)
        used = np.flatnonzero(inner.any(axis=rest))
        if used.size == 0:
            return None
        sides.append(slice(int(used[0]) + RADIUS, int(used[-1]) + 1 + RADIUS))
    return sides[0], sides[1], sides[2]


def similarity(x: Floats, y: Floats, mask: Mask, box: Box, width: float) -> Iterator[Floats]:
    r"""L C S at the mask's voxels, one plane of the box after another.

    :math:`L = (2\mu_x\mu_y + C_1)/(\mu_x^2 + \mu_y^2 + C_1)` and, with :math:`C_3 = C_2/2`,
    :math:`C S = (2\sigma_{xy} + C_2)/(\sigma_x^2 + \sigma_y^2 + C_2)`: the contrast and structure
    terms share :math:`\sigma_x\sigma_y + C_3`, which cancels. Covariances carry NP/(NP-1).

    Parameters
    ----------
    x, y
        Images (Z, Y, X), shifted so that the lowest value is 0.
    width
        Data range R, the images' unit.
    """
    c1, c2 = (K1 * width) ** 2, (K2 * width) ** 2
    sample = VOXELS / (VOXELS - 1)
    for z, (mean_x, mean_y, squares, product) in _window_means(x, y, box):
        inside = mask[z, box[1], box[2]]
        means = 2.0 * mean_x * mean_y
        mean_x *= mean_x
        mean_y *= mean_y
        mean_x += mean_y
        covariance = (2.0 * product - means) * sample
        variances = (squares - mean_x) * sample
        numerator = (means + c1) * (covariance + c2)
        yield (numerator / ((mean_x + c1) * (variances + c2)))[inside]


def _window_means(x: Floats, y: Floats, box: Box) -> Iterator[tuple[int, Floats]]:
    """(z, window means (4, Y, X) of x, y, x^2 + y^2, xy over the box) for each plane of the box."""
    rows = slice(box[1].start - RADIUS, box[1].stop + RADIUS)
    columns = slice(box[2].start - RADIUS, box[2].stop + RADIUS)
    planes: list[Floats] = []
    total: Floats | None = None
    for z in range(box[0].start - RADIUS, box[0].stop + RADIUS):
        planes.append(_plane_sums(x[z, rows, columns], y[z, rows, columns]))
        total = planes[-1].copy() if total is None else np.add(total, planes[-1], out=total)
        if len(planes) == WINDOW:
            yield z - RADIUS, total * (1.0 / VOXELS)
            total -= planes.pop(0)


def _plane_sums(x: NDArray[np.float64], y: NDArray[np.float64]) -> Floats:
    fields = np.empty((4, *x.shape))
    fields[0], fields[1] = x, y
    np.multiply(x, x, out=fields[2])
    np.multiply(y, y, out=fields[3])
    fields[2] += fields[3]
    np.multiply(x, y, out=fields[3])
    two = fields[:, :-1] + fields[:, 1:]
    down = two[:, :-5] + two[:, 2:-3]
    down += two[:, 4:-1]
    down += fields[:, 6:]
    two = down[:, :, :-1] + down[:, :, 1:]
    across: Floats = two[:, :, :-5] + two[:, :, 2:-3]
    across += two[:, :, 4:-1]
    across += down[:, :, 6:]
    return across
