"""Text in the pixels, looked for before anything is stored."""

from __future__ import annotations

import numpy as np

from synthct.data.volume import Grid, Modality, Volume
from synthct.tasks.ingestion.body import body_mask
from synthct.tasks.ingestion.canonical import reoriented
from synthct.tasks.ingestion.findings import Code, Finding, Severity
from synthct.tasks.ingestion.guards import GUARDS
from synthct.tasks.ingestion.params import BodyParams

BURNED_IN_SAID = Code(
    "burned-in-annotation",
    Severity.QUARANTINE,
    "the header says that text is burned into the pixels",
    "export the series without annotations, or name the scan in a manifest to take it in",
)

COARSE_MM = 3.0
"""The outline for this purpose need not be finer."""


def beside_body(volume: Volume, region: str) -> list[Finding]:
    """What the guard ``burned_in`` says, with a quick coarse body outline."""
    if volume.array.min() == volume.array.max():
        return []
    guard = GUARDS.build("burned_in", {}, where="ingestion.guards.burned_in")
    return guard(volume, _coarse_outline(volume, region))[1]


def _coarse_outline(volume: Volume, region: str) -> Volume:
    """The body mask of every n-th voxel, spread over the voxels between."""
    every = tuple(max(1, int(COARSE_MM / step)) for step in volume.grid.spacing_mm)
    part = volume.array[tuple(slice(None, None, step) for step in every)]
    spacing = tuple(step * count for step, count in zip(volume.grid.spacing_mm, every, strict=True))
    grid = Grid(part.shape, spacing, volume.grid.origin_mm, volume.grid.direction)  # type: ignore[arg-type]
    coarse = body_mask(reoriented(Volume(part, grid, volume.modality)), BodyParams(), region)
    back = np.rint(
        grid.index(coarse.grid.points(np.moveaxis(np.indices(coarse.array.shape), 0, -1)))
    )
    mask = np.zeros(part.shape, np.uint8)
    mask[tuple(np.moveaxis(back.astype(int), -1, 0))] = coarse.array
    for axis, count in enumerate(every):
        mask = np.repeat(mask, count, axis=axis)
    z, y, x = volume.array.shape
    return volume.with_array(mask[:z, :y, :x], Modality.MASK)
