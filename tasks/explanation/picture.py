"""The picture of an explanation: the source, the shares of its voxels, and those of patients."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

MAX_PATIENTS = 12
"""Maximum number of bars in the picture; the JSON has all patients."""

RAISES, LOWERS, INK = "#b2182b", "#2166ac", "#1d2530"


@dataclass(frozen=True, eq=False)
class Picture:
    """Data of the picture.

    Parameters
    ----------
    source, shares
        (C, [Z,] Y, X): the window in network units, and the share of each voxel [HU].
    place
        The voxel (z, y, x) in the window.
    spacing_mm
        (z, y, x).
    patients
        Shares by patient [HU], largest first.
    flat
        Whether channels are neighbouring slices.
    """

    source: NDArray[Any]
    shares: NDArray[Any]
    place: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    patients: Mapping[str, float]
    flat: bool
    title: str


def explanation_png(picture: Picture) -> bytes:
    """Three panels as a reproducible PNG: source, shares of its voxels, shares of patients."""
    figure = Figure(figsize=(12.6, 4.2), facecolor="white")
    FigureCanvasAgg(figure)
    figure.set_layout_engine("constrained")
    left, middle, right = figure.subplots(1, 3, gridspec_kw={"width_ratios": [1, 1.15, 1]})
    source, shares = _plane(picture)
    _, y_mm, x_mm = picture.spacing_mm
    box = (0.0, source.shape[1] * x_mm, source.shape[0] * y_mm, 0.0)
    at = ((picture.place[2] + 0.5) * x_mm, (picture.place[1] + 0.5) * y_mm)
    low, high = np.percentile(source, (1, 99))
    limit = float(np.percentile(np.abs(shares), 99.8)) or 1e-9
    for panel in (left, middle):
        panel.imshow(source, cmap="gray", vmin=low, vmax=high, extent=box)
        panel.set(xlabel="x [mm]", ylabel="y [mm]")
        panel.plot(*at, "+", color="#f0a000", markersize=14, markeredgewidth=2)
    strength = np.clip(np.abs(shares) / limit, 0, 1)
    shown = middle.imshow(
        shares, cmap="RdBu_r", vmin=-limit, vmax=limit, alpha=strength, extent=box
    )
    left.set_title("source and the voxel explained", fontsize=10, color=INK)
    middle.set_title("share of each source voxel [HU]", fontsize=10, color=INK)
    figure.colorbar(shown, ax=middle, fraction=0.05)
    named = list(picture.patients.items())[:MAX_PATIENTS][::-1]
    right.barh(
        [name for name, _ in named], [share for _, share in named],
        color=[RAISES if share > 0 else LOWERS for _, share in named],
    )  # fmt: skip
    right.axvline(0, color=INK, linewidth=0.8)
    right.set_xlabel("share [HU]")
    right.set_title("training cases behind it", fontsize=10, color=INK)
    figure.suptitle(picture.title, fontsize=11, color=INK)
    buffer = io.BytesIO()
    with mpl.rc_context({"savefig.dpi": 100}):
        figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def _plane(picture: Picture) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The voxel's own slice of the source, and the shares summed over slices (Y, X)."""
    if picture.flat:
        middle = picture.source.shape[0] // 2
        return np.asarray(picture.source[middle]), np.asarray(picture.shares.sum(axis=0))
    here = picture.place[0]
    return np.asarray(picture.source[0, here]), np.asarray(picture.shares[0].sum(axis=0))
