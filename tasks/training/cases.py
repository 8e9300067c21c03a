"""One registered pair for training: stored arrays, scaling, and voxels of the body."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from synthct.data.errors import DataError
from synthct.data.store.volumes import open_array, read_grid
from synthct.tasks.models.description import SourceScaling
from synthct.tasks.models.normalise import fit_source
from synthct.tasks.models.scalings import Transform
from synthct.tasks.training.chunks import ChunkCache
from synthct.tasks.transport.laws import law_of, mean_law

ARRAYS = ("source", "ct", "mask")
"""Stored volumes of a training case."""

Box = tuple[tuple[int, int, int], tuple[int, int, int]]


@dataclass(frozen=True, eq=False)
class Case:
    """A pair on one grid.

    Parameters
    ----------
    name, region
        Name of the pair, and region of the body.
    arrays
        ``source``, ``ct`` [HU] and ``mask``, opened for patch reads.
    spacing_mm
        Voxel size (z, y, x) [mm].
    transform
        The source's scaling, fitted on the whole scan as prediction does.
    body
        Voxels of the body in each row, (Z, Y): the sampler's table.
    """

    name: str
    region: str
    arrays: Mapping[str, zarr.Array[Any]]
    spacing_mm: tuple[float, float, float]
    transform: Transform
    body: NDArray[np.int64]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels (Z, Y, X)."""
        z, y, x = self.arrays["mask"].shape
        return z, y, x

    def read(
        self, cache: ChunkCache, start: tuple[int, int, int], size: tuple[int, int, int]
    ) -> tuple[NDArray[np.float32], NDArray[Any], NDArray[np.bool_]]:
        """Scaled source, CT [HU] and mask from voxel ``start`` on, each (Z, Y, X) of ``size``.

        Beyond the edges of the scan, source and CT repeat their edge voxels, as in prediction, and
        the mask is empty.
        """
        low = [min(max(a, 0), n - 1) for a, n in zip(start, self.shape, strict=True)]
        high = [
            max(min(a + s, n), first + 1)
            for a, s, n, first in zip(start, size, self.shape, low, strict=True)
        ]
        inside = ((low[0], low[1], low[2]), (high[0], high[1], high[2]))
        pad = [
            (first - a, a + s - last)
            for a, s, first, last in zip(start, size, low, high, strict=True)
        ]
        source, ct, mask = (self._box(cache, name, inside) for name in ARRAYS)
        return (
            self.transform(np.pad(source, pad, mode="edge")),
            np.pad(ct, pad, mode="edge"),
            np.pad(mask > 0, pad),
        )

    def _box(self, cache: ChunkCache, name: str, box: Box) -> NDArray[Any]:
        return cache.read(f"{self.name}/{name}", self.arrays[name], *box)


def open_case(name: str, region: str, files: Mapping[str, Path], scaling: SourceScaling) -> Case:
    """Open a pair; one pass over source and mask fits the scaling and counts the body's voxels.

    Raises
    ------
    DataError
        ``pair-off-grid``: CT or mask are not on the grid of the source.
    """
    arrays = {kind: open_array(files[kind]) for kind in ARRAYS}
    grid = read_grid(files["source"])
    for kind in ARRAYS[1:]:
        if not read_grid(files[kind]).is_close(grid):
            raise DataError(
                f"its shape is {arrays[kind].shape}, that of the source {grid.shape}",
                rule="source, CT and mask of a pair lie on one grid",
                where=f"{name}/{kind}",
                remedy="run registration again",
                code="pair-off-grid",
            )
    mask = np.asarray(arrays["mask"][...]) > 0
    source = np.asarray(arrays["source"][...])
    return Case(
        name=name,
        region=region,
        arrays=arrays,
        spacing_mm=grid.spacing_mm,
        transform=fit_source(source, mask, scaling),
        body=mask.sum(axis=2, dtype=np.int64),
    )


def with_law(scaling: SourceScaling, cases: Iterable[Mapping[str, Path]]) -> SourceScaling:
    """The scaling with the mean law of training cases filled in, where it harmonises to none yet.

    Parameters
    ----------
    cases
        Stored ``source`` and ``mask`` of each training case.
    """
    if scaling.harmonise is None or scaling.harmonise.law is not None:
        return scaling
    plain = scaling.model_copy(update={"harmonise": None})
    laws = []
    for files in cases:
        source, mask = (np.asarray(open_array(files[kind])[...]) for kind in ("source", "mask"))
        laws.append(law_of(fit_source(source, mask, plain)(source[mask > 0])))
    filled = scaling.harmonise.model_copy(update={"law": mean_law(laws)})
    return scaling.model_copy(update={"harmonise": filled})
