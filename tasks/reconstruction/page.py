"""``report.html`` of a reconstruction: slices before and after, objective, residuals."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from synthct.tasks.figures.templates import templates
from synthct.tasks.reconstruction.job import Reconstruction

WINDOW_HU = (-400.0, 600.0)
"""Display window of the slices."""

DIFFERENCE_HU = 300.0
"""Limit of the difference's colours."""

DPI = 100
INK = "#1d2530"
PLANES = (("axial", 0), ("coronal", 1), ("sagittal", 2))


def report_page(made: Reconstruction, settings: Mapping[str, Any], facts: Mapping[str, str]) -> str:
    """The whole page, with its pictures inside it."""
    return (
        templates(Path(__file__).parent)
        .get_template("page.html.j2")
        .render(
            slices=_uri(slices(made)),
            curves=_uri(curves(made)),
            settings=settings,
            facts=facts,
            window=WINDOW_HU,
            limit=DIFFERENCE_HU,
            iterations=len(made.solution.history) - 1 if made.solution else 0,
            converged=bool(made.solution and made.solution.converged),
        )
    )


def slices(made: Reconstruction) -> Figure:
    """Three planes through the middle: first image, result, difference."""
    grid = made.image.grid
    extent = grid.extent_mm
    heights = [_size(extent, axis)[1] / _size(extent, axis)[0] for _, axis in PLANES]
    figure = Figure(figsize=(9.6, 3.0 * sum(heights) + 0.4), facecolor="white")
    FigureCanvasAgg(figure)
    figure.set_layout_engine("constrained", h_pad=0.02, w_pad=0.02)
    rows = figure.subplots(3, 3, gridspec_kw={"height_ratios": heights}, squeeze=False)
    low, high = WINDOW_HU
    shown: Any = None
    for (name, axis), row in zip(PLANES, rows, strict=True):
        middle = grid.shape[axis] // 2
        first, image = (np.take(v.array, middle, axis) for v in (made.first, made.image))
        width, height = _size(extent, axis)
        up = -1 if axis else 1  # the head is up in coronal and sagittal planes
        place = (0.0, width, height, 0.0)
        for panel, plane in zip(row[:2], (first, image), strict=True):
            panel.imshow(plane[::up], cmap="gray", vmin=low, vmax=high, extent=place)
        shown = row[2].imshow(
            (image - first)[::up], cmap="RdBu_r", vmin=-DIFFERENCE_HU, vmax=DIFFERENCE_HU,
            extent=place,
        )  # fmt: skip
        row[0].set_ylabel(name, fontsize=9, color=INK)
        for panel in row:
            panel.set(xticks=[], yticks=[])
    for panel, title in zip(rows[0], ("first image", "result", "result - first"), strict=True):
        panel.set_title(title, fontsize=10, color=INK)
    figure.colorbar(shown, ax=rows[:, 2], fraction=0.05, aspect=40, label="HU")
    return figure


def curves(made: Reconstruction) -> Figure:
    """Objective over the iterations, and the residual of each view."""
    figure = Figure(figsize=(9.6, 2.8), facecolor="white")
    FigureCanvasAgg(figure)
    figure.set_layout_engine("constrained")
    left, right = figure.subplots(1, 2)
    if made.solution is not None:
        rows = made.solution.history
        numbers = [row.number for row in rows]
        for name in ("objective", "data_term", "prior_term"):
            values = [getattr(row, name) for row in rows]
            if any(values):
                left.plot(numbers, values, label=name.replace("_", " "))
        left.set(xlabel="iteration", yscale="log")
        left.xaxis.get_major_locator().set_params(integer=True)
        left.legend(fontsize=8)
    else:
        left.set_axis_off()
    right.plot(made.residual)
    right.set(xlabel="view", ylabel="RMS residual [1]", ylim=(0, None))
    return figure


def _size(extent_mm: tuple[float, float, float], axis: int) -> tuple[float, float]:
    height, width = (extent_mm[other] for other in range(3) if other != axis)
    return width, height


def _uri(figure: Figure) -> str:
    buffer = io.BytesIO()
    with mpl.rc_context({"savefig.dpi": DPI}):
        figure.savefig(buffer, format="png", metadata={"Software": None})
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
