"""From voxels to pixels: an 8-bit code for HU, window presets as look-up tables, error colours.

A page with three windows does not need three copies of each slice: slices are stored once in a
code that is fine in soft tissue (3.6 HU a step) and coarse elsewhere, and each window is a table
from code to grey that the browser applies (an SVG filter). Error and Jacobian maps are stored in
the same way, with a table of colours.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

HU_NODES = (-1024.0, -200.0, 300.0, 1500.0, 3071.0)
CODE_NODES = (0.0, 56.0, 196.0, 240.0, 255.0)
"""The code is piecewise linear through these pairs."""

WINDOWS = {
    "soft": ("Soft tissue", -160.0, 240.0),
    "bone": ("Bone", -500.0, 1300.0),
    "lung": ("Lung", -1350.0, 150.0),
}
"""Name and limits [HU] of each window preset: level/width 40/400, 400/1800, -600/1500."""

DIVERGING = (
    "#053061", "#2166ac", "#4393c3", "#92c5de", "#d1e5f0", "#f7f7f7",
    "#fddbc7", "#f4a582", "#d6604d", "#b2182b", "#67001f",
)  # fmt: skip
"""Blue below, white at zero, red above: ColorBrewer RdBu (Brewer, Cartography and GIS 2003)."""

Codes = NDArray[np.uint8]
Pixels = NDArray[np.float32]


@dataclass(frozen=True)
class Plane:
    """A picture in the page: WebP bytes as a data URI, and its true size [mm]."""

    uri: str
    width_mm: float
    height_mm: float


def hu_codes(hu: NDArray[np.floating]) -> Codes:
    """Code (0 to 255) of each HU value."""
    codes: Codes = np.round(np.interp(hu, HU_NODES, CODE_NODES)).astype(np.uint8)
    return codes


def codes_hu(codes: NDArray[np.integer]) -> NDArray[np.float64]:
    """HU of a code: within 1.8 HU in soft tissue, 14 HU in bone."""
    return np.asarray(np.interp(codes, CODE_NODES, HU_NODES))


def window_table(low_hu: float, high_hu: float) -> NDArray[np.float64]:
    """Grey (0 to 1) of each of the 256 codes in the window [low, high] HU."""
    return np.clip((codes_hu(np.arange(256)) - low_hu) / (high_hu - low_hu), 0, 1)


def signed_codes(values: NDArray[np.floating], limit: float) -> Codes:
    """Code of a signed value: 0 at ``-limit`` and below, 128 at zero, 255 at ``limit``."""
    codes: Codes = np.round(np.clip(values / limit, -1, 1) * 127.5 + 127.5).astype(np.uint8)
    return codes


def stretch_codes(values: NDArray[np.floating], low: float, high: float) -> Codes:
    """Linear grey codes of values (for example of an MR slice) between two limits."""
    share = np.clip((values - low) / max(high - low, 1e-9), 0, 1)
    codes: Codes = np.round(share * 255).astype(np.uint8)
    return codes


def colour_tables() -> NDArray[np.float64]:
    """Red, green and blue (3, n), 0 to 1, of the diverging colours at even steps."""
    return np.array([[int(c[i : i + 2], 16) / 255 for c in DIVERGING] for i in (1, 3, 5)])


def shrink(values: NDArray[np.generic], pixels: int) -> Pixels:
    """Average a slice (rows, columns) down so that its longer side has at most ``pixels``."""
    image = Image.fromarray(np.ascontiguousarray(values, dtype=np.float32))
    factor = pixels / max(image.size)
    if factor < 1:
        width, height = (max(1, round(side * factor)) for side in image.size)
        image = image.resize((width, height), Image.Resampling.BOX)
    return np.asarray(image, dtype=np.float32)


def checkerboard(
    first: NDArray[np.integer], second: NDArray[np.integer], squares: int = 6
) -> Codes:
    """Alternating squares of both pictures: edges continue across squares if they are aligned."""
    side = max(1, max(first.shape) // squares)
    rows, columns = np.indices(first.shape)
    return np.where((rows // side + columns // side) % 2 == 0, first, second).astype(np.uint8)


def uri(codes: Codes, quality: int, mask: NDArray[np.bool_] | None = None) -> str:
    """The picture as a WebP data URI without metadata; transparent outside ``mask``."""
    image = Image.fromarray(codes)
    if mask is not None:
        image = image.convert("RGBA")
        image.putalpha(Image.fromarray(mask.astype(np.uint8) * 255))
    file = io.BytesIO()
    image.save(file, "WEBP", quality=quality, method=4, exact=False)
    return "data:image/webp;base64," + base64.b64encode(file.getvalue()).decode()


def outline_path(
    values: NDArray[np.generic], level: float, size_mm: tuple[float, float], *, least: int = 8
) -> str:
    """Contours of a slice at ``level``, as an SVG path in mm (width, height = ``size_mm``).

    Contours of fewer than ``least`` points are noise and left out.
    """
    from skimage.measure import approximate_polygon, find_contours

    rows, columns = values.shape
    scale = np.array([size_mm[1] / rows, size_mm[0] / columns])
    parts: list[str] = []
    for loop in find_contours(np.asarray(values, dtype=np.float32), level):
        if len(loop) < least:
            continue
        points = (approximate_polygon(loop, 0.3) + 0.5) * scale
        parts.append(_path(points))
    return " ".join(parts)


def _path(points: Sequence[NDArray[np.float64]] | NDArray[np.float64]) -> str:
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for y, x in points)
