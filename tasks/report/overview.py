"""Pictures for pages outside the report (README, docs): small PNGs with reproducible bytes."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image, ImageColor
from scipy.spatial import cKDTree

from synthct.data.store.volumes import read_volume
from synthct.tasks.figures.pictures import DIVERGING, WINDOWS
from synthct.tasks.pipeline.artefacts import DISPLACEMENT, MASK, SOURCE
from synthct.tasks.report.overlays import BODY_HU, BONE_HU, jacobian_slice, middle, upright
from synthct.tasks.report.strips import Scene, source_limits

SIGNED = LinearSegmentedColormap.from_list("signed", DIVERGING)
"""The report's diverging colours."""

PANEL_INCHES = 2.3
DPI = 110
INK, QUIET, PLATE, SKIN, BONE = "#1d2530", "#5a6675", "#e9ebee", "#3fd0e8", "#ffb52e"

GREYS, SIGNS = 100, 140
"""Number of greys and error colours in the PNG's palette, for three cases below 300 kB."""


@dataclass(frozen=True)
class ScoredRow:
    """A case for :func:`scores_png`: its label, volumes and the slice to show."""

    label: str
    scene: Scene
    slice: int


def scores_png(rows: Sequence[ScoredRow], *, window: str = "soft", error_hu: float = 200) -> bytes:
    """Source, CT, sCT and error of one axial slice per case, in one window, as a PNG."""
    _, low, high = WINDOWS[window]
    figure, axes = _panels([_size(row.scene.ct.grid.extent_mm, 0) for row in rows], 4)
    shown: Any = None
    for line, row in zip(axes, rows, strict=True):
        z, scene = row.slice, row.scene
        limits = source_limits(scene.source, scene.mask)
        extent = _extent(scene.ct.grid.extent_mm, 0)
        for axis, volume, (bottom, top) in (
            (line[0], scene.source, limits),
            (line[1], scene.ct, (low, high)),
            (line[2], scene.sct, (low, high)),
        ):
            _grey(axis, volume.array[z], bottom, top, extent)
        error = np.ma.masked_where(~scene.mask[z], scene.error(z))
        shown = _signed(line[3], error, error_hu, extent)
        line[0].set_ylabel(row.label, color=INK)
    titles = (str(rows[0].scene.source.modality), "CT (registered)", "synthetic CT", "error")
    _titles(axes[0], titles)
    _bar(figure, shown, axes[:, 3], "sCT − CT [HU]")
    return _png(figure)


@dataclass(frozen=True)
class RegisteredRow:
    """A case for :func:`registration_png`: its folder in the registration stage's output."""

    label: str
    folder: Path


def registration_png(rows: Sequence[RegisteredRow]) -> bytes:
    """The CT's outlines on the source before and after, and the Jacobian; coronal, as a PNG."""
    axis = 1
    sizes = [_size(read_volume(row.folder / MASK).grid.extent_mm, axis) for row in rows]
    figure, axes = _panels(sizes, 3)
    shown: Any = None
    for line, row in zip(axes, rows, strict=True):
        source = read_volume(row.folder / SOURCE)
        mask = np.asarray(read_volume(row.folder / MASK).array > 0)
        at, extent = middle(mask, axis), _extent(source.grid.extent_mm, axis)
        limits = source_limits(source, mask)
        for panel, name in ((line[0], "unregistered_ct"), (line[1], "ct")):
            cut = upright(np.take(source.array, at, axis), axis)
            _grey(panel, cut, *limits, extent)
            ct = np.take(read_volume(row.folder / f"{name}.zarr").array, at, axis)
            _outline(panel, upright(ct, axis), extent)
        logs = np.log2(np.clip(jacobian_slice(row.folder / DISPLACEMENT, axis, at), 0.5, 2))
        inside = upright(np.take(mask, at, axis), axis)
        shown = _signed(line[2], np.ma.masked_where(~inside, upright(logs, axis)), 1.0, extent)
        line[0].set_ylabel(row.label, color=INK)
    _titles(axes[0], ("CT outlines, before", "after registration", "Jacobian determinant"))
    bar = _bar(figure, shown, axes[:, 2], "det J (1 keeps volume)")
    bar.set_ticks([-1, 0, 1], labels=["0.5", "1", "2"])
    return _png(figure)


def _size(extent_mm: Sequence[float], axis: int) -> tuple[float, float]:
    """Width and height [mm] of a cut."""
    return extent_mm[2], extent_mm[1 if axis == 0 else 0]


def _extent(extent_mm: Sequence[float], axis: int) -> tuple[float, float, float, float]:
    width, height = _size(extent_mm, axis)
    return 0.0, width, height, 0.0


def _panels(sizes_mm: Sequence[tuple[float, float]], columns: int) -> tuple[Figure, Any]:
    heights = [PANEL_INCHES * height / width for width, height in sizes_mm]
    figure = Figure(
        figsize=(PANEL_INCHES * columns + 1.15, sum(heights) + 0.06 * len(heights) + 0.25),
        facecolor="white",
    )
    FigureCanvasAgg(figure)
    figure.set_layout_engine("constrained", h_pad=0.02, w_pad=0.03, hspace=0, wspace=0)
    axes = figure.subplots(
        len(sizes_mm), columns, squeeze=False, gridspec_kw={"height_ratios": heights}
    )
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[], facecolor=PLATE)
        for side in axis.spines.values():
            side.set_visible(False)
    return figure, axes


def _grey(
    axis: Any, values: NDArray[Any], low: float, high: float, extent: Sequence[float]
) -> None:
    axis.imshow(values, cmap="gray", vmin=low, vmax=high, extent=extent, interpolation="bilinear")


def _signed(axis: Any, values: Any, limit: float, extent: Sequence[float]) -> Any:
    return axis.imshow(values, cmap=SIGNED, vmin=-limit, vmax=limit, extent=extent)


def _outline(axis: Any, ct: NDArray[Any], extent: Sequence[float]) -> None:
    _, width, height, _ = extent
    rows, columns = ct.shape
    x = (np.arange(columns) + 0.5) * width / columns
    y = (np.arange(rows) + 0.5) * height / rows
    for level, colour in ((BODY_HU, SKIN), (BONE_HU, BONE)):
        if ct.min() < level < ct.max():
            axis.contour(
                x, y, ct, levels=[level], colors=[colour], linewidths=1.1, linestyles="solid"
            )


def _titles(axes: Sequence[Any], titles: Sequence[str]) -> None:
    for axis, title in zip(axes, titles, strict=True):
        axis.set_title(title, fontsize=10, color=INK)


def _bar(figure: Figure, shown: Any, axes: Any, label: str) -> Any:
    bar = figure.colorbar(shown, ax=list(axes), fraction=0.05, pad=0.02, aspect=28)
    bar.set_label(label, color=QUIET, fontsize=9)
    bar.ax.tick_params(labelsize=8, colors=QUIET)
    bar.outline.set_visible(False)
    return bar


def _png(figure: Figure) -> bytes:
    """Render with Agg, and convert to a palette PNG without metadata."""
    with mpl.rc_context({"font.family": "DejaVu Sans"}):
        raw = io.BytesIO()
        figure.savefig(raw, format="png", dpi=DPI, metadata={"Software": None})
    pixels = np.asarray(Image.open(raw).convert("RGB"))
    colours = _palette()
    found, where = np.unique(pixels.reshape(-1, 3), axis=0, return_inverse=True)
    nearest = np.asarray(cKDTree(colours).query(found)[1], dtype=np.uint8)
    picture = Image.fromarray(nearest[where].reshape(pixels.shape[:2]), mode="P")
    picture.putpalette(colours.ravel().tolist())
    file = io.BytesIO()
    picture.save(file, "PNG", optimize=True)
    return file.getvalue()


def _palette() -> NDArray[np.uint8]:
    """The palette (n, 3): all colours that are drawn."""
    greys = np.repeat(np.linspace(0, 255, GREYS).round()[:, None], 3, axis=1)
    signs = 255 * np.asarray(SIGNED(np.linspace(0, 1, SIGNS))).reshape(SIGNS, 4)[:, :3]
    inks = [ImageColor.getrgb(colour) for colour in (INK, QUIET, PLATE, SKIN, BONE)]
    return np.concatenate([greys, signs, inks]).round().astype(np.uint8)
