"""Attributes of a stored array: axes and scales of OME-Zarr 0.5, and the exact grid."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from synthct.data.volume import Grid

LEVEL = "0"
"""Name of the full-resolution array inside the group."""


def attributes_of(array: NDArray[Any], grid: Grid, extra: Mapping[str, Any]) -> dict[str, Any]:
    """Attributes of the group for an array (Z, Y, X) or (3, Z, Y, X) on this grid."""
    axes: list[dict[str, str]] = [
        {"name": name, "type": "space", "unit": "millimeter"} for name in "zyx"
    ]
    scale, shift = list(grid.spacing_mm), list(grid.origin_mm)
    if array.ndim == 4:
        axes.insert(0, {"name": "c", "type": "channel"})
        scale, shift = [1.0, *scale], [0.0, *shift]
    transformations = [
        {"type": "scale", "scale": scale},
        {"type": "translation", "translation": shift},
    ]
    dataset = {"path": LEVEL, "coordinateTransformations": transformations}
    return {
        "ome": {
            "version": "0.5",
            "multiscales": [{"name": "", "axes": axes, "datasets": [dataset]}],
        },
        "synthct": {
            "shape": list(grid.shape),
            "spacing_mm": list(grid.spacing_mm),
            "origin_mm": list(grid.origin_mm),
            "direction": [list(row) for row in grid.direction],
            **extra,
        },
    }


def grid_of(attributes: Mapping[str, Any]) -> Grid:
    """The grid in our attributes, exactly as it was written."""
    a, b, c = attributes["shape"]
    rows = [tuple(float(v) for v in row) for row in attributes["direction"]]
    return Grid(
        (int(a), int(b), int(c)),
        tuple(attributes["spacing_mm"]),
        tuple(attributes["origin_mm"]),
        (rows[0], rows[1], rows[2]),  # type: ignore[arg-type]
    )
