"""One patient's body: tissue labels on a fine raster, for each day, with texture inside tissues."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from synthct.data.phantom import abdomen, neck, thorax
from synthct.data.phantom.canvas import Canvas, Lumen, smooth_noise
from synthct.data.phantom.shapes import below
from synthct.data.phantom.tissues import TissueValues, draw_values
from synthct.data.volume import Grid

DAYS = ("ct", "mr", "cbct")

Build = Callable[[Canvas, np.random.Generator], dict[str, Lumen]]
REGIONS: Mapping[str, Build] = {
    "head-neck": neck.build,
    "thorax": thorax.build,
    "abdomen": abdomen.build,
}


@dataclass(frozen=True, eq=False)
class Anatomy:
    """A patient in the coordinates of the CT day.

    ``labels`` holds one raster a day: they differ only in what the hollow organs contain.
    ``texture`` and ``streaks`` are unit-variance noise that belongs to the tissue and moves
    with it.
    """

    grid: Grid
    labels: Mapping[str, NDArray[np.uint8]]
    values: TissueValues
    texture: NDArray[np.float32]
    streaks: NDArray[np.float32]


def build_anatomy(region: str, grid: Grid, rng: np.random.Generator) -> Anatomy:
    """Draw one patient of the region on the raster ``grid``."""
    canvas = Canvas(grid, rng)
    lumens = REGIONS[region](canvas, rng)
    base = canvas.labels
    labels = {}
    for day in DAYS:
        canvas.labels = base.copy()
        _fill_with_gas(canvas, lumens, rng)
        labels[day] = canvas.labels
    pitch = max(grid.spacing_mm)
    fine = smooth_noise(rng, grid, max(7.0, 2 * pitch))
    broad = smooth_noise(rng, grid, 18.0)
    return Anatomy(
        grid=grid,
        labels=labels,
        values=draw_values(rng),
        texture=np.float32(0.8) * fine + np.float32(0.6) * broad,
        streaks=smooth_noise(rng, grid, 11.0),
    )


def _fill_with_gas(canvas: Canvas, lumens: Mapping[str, Lumen], rng: np.random.Generator) -> None:
    """Gas rises to the front (the patient lies on the back); each day other loops are filled."""
    for name in sorted(lumens):
        fill = rng.beta(0.7, 1.1)
        for part in lumens[name].parts:
            level = part.low[1] + fill * 0.8 * (part.high[1] - part.low[1])
            canvas.paint(part & below(1, float(level)), "gas", over=lumens[name].over)
