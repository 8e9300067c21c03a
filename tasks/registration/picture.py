"""``before_after.png``: checkerboards, Jacobian determinant and displacement of a registration."""

from __future__ import annotations

import io
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from synthct.data.volume import Displacement, Modality, Volume
from synthct.tasks.fields.geometry import displacement_of
from synthct.tasks.fields.jacobian import jacobian_determinant
from synthct.tasks.registration.register import Registered

TILE_MM = 30.0
"""Side of a checkerboard tile [mm]."""

ARROWS = 22
"""Number of arrows along each side of a quiver plot."""

PANEL_INCHES, DPI = 2.6, 100
PLATE, INK, BODY = "#e9ebee", "#1d2530", "#3fd0e8"

Plane = Literal["axial", "coronal", "sagittal"]
_AXIS: dict[Plane, int] = {"axial": 0, "coronal": 1, "sagittal": 2}

COLUMNS = ("fixed", "checkerboard before", "checkerboard after", "det J", "beyond rigid [mm]")


def before_after_png(done: Registered, *, title: str = "") -> bytes:
    """Three planes through the middle of the body with five panels each, as a reproducible PNG.

    Checkerboards alternate the fixed and the moving scan; the Jacobian determinant is above 1
    where the tissue is larger in the moving scan; arrows point from fixed to moving points.
    """
    planes: tuple[Plane, ...] = ("axial", "coronal", "sagittal")
    extent = done.grid.extent_mm
    heights = [_size(extent, plane)[1] / _size(extent, plane)[0] for plane in planes]
    figure = Figure(
        figsize=(PANEL_INCHES * len(COLUMNS) + 0.8, PANEL_INCHES * sum(heights) + 0.6),
        facecolor="white",
    )
    FigureCanvasAgg(figure)
    figure.set_layout_engine("constrained", h_pad=0.02, w_pad=0.02)
    rows = figure.subplots(3, len(COLUMNS), gridspec_kw={"height_ratios": heights}, squeeze=False)
    shown: tuple[Any, Any] = (None, None)
    for plane, row in zip(planes, rows, strict=True):
        shown = _row(done, plane, row)
    for axis, name in zip(rows[0], COLUMNS, strict=True):
        axis.set_title(name, fontsize=9, color=INK)
    bar = figure.colorbar(shown[0], ax=rows[:, 3], fraction=0.05, aspect=40)
    bar.set_ticks([-1, 0, 1], labels=["0.5", "1", "2"])
    figure.colorbar(shown[1], ax=rows[:, 4], fraction=0.05, aspect=40)
    if title:
        figure.suptitle(title, fontsize=10, color=INK)
    return png(figure)


def png(figure: Figure) -> bytes:
    """The figure as a PNG without date or version metadata."""
    buffer = io.BytesIO()
    with mpl.rc_context({"savefig.dpi": DPI}):
        figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def _row(done: Registered, plane: Plane, row: NDArray[Any]) -> tuple[Any, Any]:
    """Draw the five panels of one plane; returns the artists for the two colour bars."""
    axis = _AXIS[plane]
    body = np.asarray(done.body.array) > 0
    at = _middle(body, axis)
    width, height = _size(done.grid.extent_mm, plane)
    box = (0.0, width, height, 0.0)
    inside = _cut(body, axis, at)
    fixed = _grey(done.source, body, axis, at)
    for panel in row:
        panel.set(xticks=[], yticks=[], facecolor=PLATE)
    row[0].imshow(fixed, cmap="gray", vmin=0, vmax=1, extent=box)
    row[0].set_ylabel(plane, fontsize=9, color=INK)
    for panel, scan in ((row[1], done.unregistered), (row[2], done.moved.scan)):
        board = np.where(_tiles(fixed.shape, width, height), fixed, _grey(scan, body, axis, at))
        panel.imshow(board, cmap="gray", vmin=0, vmax=1, extent=box)
    start, thin = _thin(done.moved.displacement, axis, at, 1)
    logs = np.log2(np.clip(_cut(jacobian_determinant(thin), axis, at - start), 0.5, 2))
    jacobian = row[3].imshow(
        np.ma.masked_where(~inside, logs), cmap="RdBu_r", vmin=-1, vmax=1, extent=box
    )
    row[4].imshow(fixed, cmap="gray", vmin=0, vmax=1, extent=box, alpha=0.55)
    return jacobian, _quiver(row[4], done, axis, at, inside, box)


def _quiver(
    panel: Any,
    done: Registered,
    axis: int,
    at: int,
    inside: NDArray[np.bool_],
    box: tuple[float, float, float, float],
) -> Any:
    """Arrows of the displacement beyond the rigid step, coloured by their length."""
    _, thin = _thin(done.moved.displacement, axis, at, 0)
    beyond = thin.vectors
    if done.rigid is not None:
        beyond = beyond - displacement_of(done.rigid, thin.grid).vectors
    z, y, x = (_cut(part, axis, 0) for part in beyond)
    # Coronal and sagittal slices are shown head up: +z points up.
    down, across = {0: (y, x), 1: (-z, x), 2: (-z, y)}[axis]
    length = np.sqrt(z**2 + y**2 + x**2)
    step = [max(1, round(size / ARROWS)) for size in inside.shape]
    rows, columns = np.nonzero(_every(inside, step))
    at_y = (rows + 0.5) / inside.shape[0] * box[2]
    at_x = (columns + 0.5) / inside.shape[1] * box[1]
    here = rows, columns
    panel.set(xlim=(0, box[1]), ylim=(box[2], 0))
    longest = float(np.percentile(length[inside], 99)) if inside.any() else 0.0
    return panel.quiver(
        at_x, at_y, across[here], down[here], length[here], angles="xy", scale_units="xy",
        scale=max(longest / (1.5 * TILE_MM), 0.05), cmap="viridis", width=0.006,
        clim=(0, max(1.0, longest)),
    )  # fmt: skip


def _middle(body: NDArray[np.bool_], axis: int) -> int:
    """Median index of the body voxels along an axis."""
    others = tuple(other for other in range(3) if other != axis)
    below = np.cumsum(body.sum(axis=others))
    count = int(below[-1])
    low, high = np.searchsorted(below, ((count - 1) // 2, count // 2), side="right")
    return int(low + high) // 2


def _thin(whole: Displacement, axis: int, at: int, beside: int) -> tuple[int, Displacement]:
    """First index and displacement of slice ``at`` with ``beside`` slices on either side."""
    start, stop = [0, 0, 0], list(whole.grid.shape)
    start[axis], stop[axis] = max(0, at - beside), min(stop[axis], at + beside + 1)
    (a, b, c), (d, e, f) = start, stop
    grid = whole.grid.crop((a, b, c), (d, e, f))
    return start[axis], Displacement(whole.vectors[:, a:d, b:e, c:f], grid)


def _every(inside: NDArray[np.bool_], step: list[int]) -> NDArray[np.bool_]:
    """The mask restricted to every ``step``-th row and column."""
    kept = np.zeros_like(inside)
    kept[step[0] // 2 :: step[0], step[1] // 2 :: step[1]] = True
    return inside & kept


def _size(extent_mm: tuple[float, float, float], plane: Plane) -> tuple[float, float]:
    """Width and height of a slice [mm]."""
    z, y, x = extent_mm
    return {"axial": (x, y), "coronal": (x, z), "sagittal": (y, z)}[plane]


def _cut(values: NDArray[Any], axis: int, at: int) -> NDArray[Any]:
    """One slice, shown head up."""
    cut = np.asarray(np.take(values, at, axis))
    return cut if axis == 0 else cut[::-1]


def _grey(scan: Volume, body: NDArray[np.bool_], axis: int, at: int) -> NDArray[np.float64]:
    """A slice scaled to 0..1: a CT by a fixed window, others with percentile clipping."""
    if scan.modality is Modality.CT:
        low, high = -250.0, 450.0
    else:
        low, high = np.percentile(scan.array[body], (0.5, 99.5))
    cut = _cut(scan.array, axis, at).astype(np.float64)
    return np.clip((cut - low) / max(high - low, 1e-6), 0, 1)


def _tiles(shape: tuple[int, ...], width: float, height: float) -> NDArray[np.bool_]:
    """Checkerboard of ``TILE_MM`` tiles over a slice."""
    rows = np.arange(shape[0]) * height / shape[0] // TILE_MM
    columns = np.arange(shape[1]) * width / shape[1] // TILE_MM
    return np.asarray((rows[:, None] + columns[None, :]) % 2 == 0)
