"""Compiled loops of the projector and of FDK, for detectors whose rows run along the volume's z.

All lengths are in voxels of a volume (Y, X, Z) that is padded by one voxel on each side, with z
last in memory. All pixels of a detector column share the horizontal part of their rays: on each
plane that the rays cross, two neighbouring columns of voxels are mixed once and read by every
pixel of the column.

Each function works on the range ``first`` to ``last`` of what it writes, so that threads can share
the work, and releases the interpreter's lock. Every element is written by one thread in a fixed
order: results do not depend on the number of threads.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

compiled: Callable[..., Any] = numba.njit(nogil=True, fastmath=True, cache=True)


@compiled
def within(start: float, step: float, count: int, end: float) -> tuple[int, int]:
    """First v and one past the last v of 0..count with 0 <= start + v * step < end."""
    if step == 0:
        return (0, count) if 0 <= start < end else (0, 0)
    one, other = -start / step, (end - start) / step
    first = max(0, int(np.ceil(min(one, other))))
    last = max(first, min(count, int(np.floor(max(one, other))) + 1))
    while first < last and not 0 <= start + first * step < end:
        first += 1
    while last > first and not 0 <= start + (last - 1) * step < end:
        last -= 1
    return first, last


@compiled
def crossing(
    plane: int, through_x: bool, sz: float, sy: float, sx: float,
    dz: float, dy: float, dx: float, along_v: float, rows: int, nz: int, sides: int,
) -> tuple[int, int, float, float, int, int, int, Any]:  # fmt: skip
    """Where the rays of a detector column cross a plane of x or y.

    Returns the rows ``v0`` to ``v1`` whose rays hit the volume there (none: equal), the height of
    row 0 and its rise from row to row, the range of z that the rays touch, the index of the column
    of voxels before them, and the weight of the next column.
    """
    t = (plane - sx) / dx if through_x else (plane - sy) / dy
    side = sy + t * dy if through_x else sx + t * dx
    j = int(side)
    w = np.float32(side - j)
    z0, rise = sz + t * dz, t * along_v
    if t <= 0 or t >= 1 or side < 0 or side >= sides - 1:
        return 0, 0, z0, rise, 0, 0, j, w
    v0, v1 = within(z0, rise, rows, nz - 1.0)
    low, high = z0 + v0 * rise, z0 + (v1 - 1) * rise
    return v0, v1, z0, rise, int(min(low, high)), min(int(max(low, high)) + 2, nz), j, w


@compiled
def project(
    first: int, last: int, out: Array, volume: Array,
    source: Array, corner: Array, along_u: Array, along_v: Array,
) -> None:  # fmt: skip
    """Fill the views ``first`` to ``last`` of ``out`` (views, U, V) with sums along the rays."""
    ny, nx, nz = volume.shape
    columns, rows = out.shape[1:]
    mixed, total = np.empty(nz, np.float32), np.empty(rows, np.float32)
    for n in range(first, last):
        sz, sy, sx = source[n]
        for u in range(columns):
            dz = corner[n, 0] + u * along_u[n, 0] - sz
            dy = corner[n, 1] + u * along_u[n, 1] - sy
            dx = corner[n, 2] + u * along_u[n, 2] - sx
            total[:] = 0
            through_x = abs(dx) >= abs(dy)
            planes, sides = (nx, ny) if through_x else (ny, nx)
            for plane in range(1, planes - 1):
                v0, v1, z0, rise, bottom, top, j, w = crossing(
                    plane, through_x, sz, sy, sx, dz, dy, dx, along_v[n, 0], rows, nz, sides
                )
                if v0 >= v1:
                    continue
                if through_x:
                    for k in range(bottom, top):
                        a, b = volume[j, plane, k], volume[j + 1, plane, k]
                        mixed[k] = a + w * (b - a)
                else:
                    for k in range(bottom, top):
                        a, b = volume[plane, j, k], volume[plane, j + 1, k]
                        mixed[k] = a + w * (b - a)
                for v in range(v0, v1):
                    z = z0 + v * rise
                    k = int(z)
                    a = mixed[k]
                    total[v] += a + np.float32(z - k) * (mixed[k + 1] - a)
            for v in range(rows):
                out[n, u, v] = total[v]


@compiled
def transpose(
    first: int, last: int, through_x: bool, out: Array, views: Array,
    source: Array, corner: Array, along_u: Array, along_v: Array,
) -> None:  # fmt: skip
    """Add the transpose of :func:`project` to the planes ``first`` to ``last`` of ``out``.

    Planes of x take the rays that run mostly along x, planes of y the others: one call for each.
    """
    ny, nx, nz = out.shape
    count, columns, rows = views.shape
    mixed = np.empty(nz, np.float32)
    sides = ny if through_x else nx
    for plane in range(max(first, 1), min(last, (nx if through_x else ny) - 1)):
        for n in range(count):
            sz, sy, sx = source[n]
            for u in range(columns):
                dz = corner[n, 0] + u * along_u[n, 0] - sz
                dy = corner[n, 1] + u * along_u[n, 1] - sy
                dx = corner[n, 2] + u * along_u[n, 2] - sx
                if (abs(dx) >= abs(dy)) != through_x:
                    continue
                v0, v1, z0, rise, bottom, top, j, w = crossing(
                    plane, through_x, sz, sy, sx, dz, dy, dx, along_v[n, 0], rows, nz, sides
                )
                if v0 >= v1:
                    continue
                mixed[bottom:top] = 0
                for v in range(v0, v1):
                    z = z0 + v * rise
                    k = int(z)
                    value = views[n, u, v]
                    share = np.float32(z - k) * value
                    mixed[k] += value - share
                    mixed[k + 1] += share
                if through_x:
                    for k in range(bottom, top):
                        share = w * mixed[k]
                        out[j, plane, k] += mixed[k] - share
                        out[j + 1, plane, k] += share
                else:
                    for k in range(bottom, top):
                        share = w * mixed[k]
                        out[plane, j, k] += mixed[k] - share
                        out[plane, j + 1, k] += share


@compiled
def smear(
    first: int, last: int, out: Array, views: Array, angles: Array,
    z: Array, y: Array, x: Array, axis: Array, detector: Array,
) -> None:  # fmt: skip
    """Add FDK's distance-weighted back-projection to the rows ``first`` to ``last`` of ``out``.

    ``out`` is (Y, X, Z), ``views`` the filtered projections (views, U, V), ``axis`` the distances
    of axis and detector from the source [mm], ``detector`` the positions of the first pixel along
    v and u and the pixel's sizes [mm]. Beyond the detector its last pixel is continued.
    """
    count, columns, rows = views.shape
    v_first, u_first, v_size, u_size = detector
    mixed = np.empty(rows, np.float32)
    for j in range(first, last):
        for i in range(len(x)):
            for n in range(count):
                cosine, sine = np.cos(angles[n]), np.sin(angles[n])
                depth = axis[0] + cosine * y[j] - sine * x[i]
                zoom = axis[1] / depth
                u = ((sine * y[j] + cosine * x[i]) * zoom - u_first) / u_size
                u = min(max(u, 0.0), columns - 1.0)
                column = min(int(u), columns - 2)
                w = np.float32(u - column)
                weight = np.float32((axis[0] / depth) ** 2)
                for v in range(rows):
                    a, b = views[n, column, v], views[n, column + 1, v]
                    mixed[v] = weight * (a + w * (b - a))
                start, rise = (z[0] * zoom - v_first) / v_size, (z[1] - z[0]) * zoom / v_size
                for k in range(len(z)):
                    v = min(max(start + k * rise, 0.0), rows - 1.0)
                    row = min(int(v), rows - 2)
                    a = mixed[row]
                    out[j, i, k] += a + np.float32(v - row) * (mixed[row + 1] - a)
