"""Estimates the displacement between two volumes on one grid."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from synthct.data.errors import DataError, mask_empty
from synthct.data.volume import Displacement, Grid, Volume
from synthct.tasks.fields.derivatives import Spacing
from synthct.tasks.registration.contracts import Comparison, Featured, Level, Similarity
from synthct.tasks.registration.deformations import DEFORMATIONS
from synthct.tasks.registration.engine.convex import ConvexStart
from synthct.tasks.registration.engine.descent import Objective, Scene, descend, needs_inverse
from synthct.tasks.registration.engine.memory import RESULT_VOXELS, affordable
from synthct.tasks.registration.engine.pyramid import carried, coarsened, levels, refined
from synthct.tasks.registration.engine.settings import Settings
from synthct.tasks.registration.similarities import SIMILARITIES
from synthct.tasks.registration.similarities.mind import Mind

MIN_VOXELS = 4
"""Minimum number of voxels along each axis for a deformable registration [voxels]."""

TAILS_PERCENT = 0.5
"""Masked intensities are clipped at this percentile and at 100 minus it [%]."""


@dataclass(frozen=True, eq=False)
class Deformed:
    """The displacement, and the objective at every iteration of every level."""

    displacement: Displacement
    courses: tuple[tuple[float, ...], ...]


@dataclass(frozen=True, eq=False)
class Pair:
    """Fixed and moving volume on one grid, their masks, and the tissue stiffness.

    Parameters
    ----------
    fixed, moving
        Scans on the same grid: the moving scan must be resampled (after the rigid step) first.
    fixed_mask, moving_mask
        Voxels to compare (Z, Y, X), not 0.
    stiffness
        Relative stiffness (Z, Y, X) on the same grid, 1 in soft tissue; used by some penalties.
    """

    fixed: Volume
    moving: Volume
    fixed_mask: NDArray[Any]
    moving_mask: NDArray[Any]
    stiffness: NDArray[Any] | None = None

    def __post_init__(self) -> None:
        if not self.fixed.grid.is_close(self.moving.grid):
            raise DataError(
                f"the scans lie on different grids: shapes {self.fixed.grid.shape} and "
                f"{self.moving.grid.shape}",
                rule="the torch engine takes two scans on one grid",
                remedy="resample the moving scan onto the fixed one",
                code="grids-differ",
            )
        if min(self.fixed.grid.shape) < MIN_VOXELS:
            raise DataError(
                f"the scan is too thin: shape {self.fixed.grid.shape}",
                rule=f"the torch engine takes at least {MIN_VOXELS} voxels along each axis",
                remedy="give a thicker scan or a finer grid_spacing_mm",
                code="extent-too-small",
            )
        for image, mask, name in (
            (self.fixed, self.fixed_mask, "fixed"),
            (self.moving, self.moving_mask, "moving"),
        ):
            _check(image, mask, name)


def deform(pair: Pair, settings: Settings, *, seed: int = 0, device: str = "cpu") -> Deformed:
    """Deform ``pair.moving`` onto ``pair.fixed``: u maps fixed points to moving points [mm].

    With an inverse-consistency penalty, the backward displacement is optimised jointly with the
    forward one. For a given seed, CPU and thread count the result is reproducible byte for byte.
    Levels that need more than ``settings.max_memory_gb`` are skipped; at least one must fit.
    """
    started = time.monotonic()
    rng = torch.Generator().manual_seed(seed)
    similarity = SIMILARITIES.build(settings.similarity, settings.similarity_options)
    deformation = DEFORMATIONS.build(settings.deformation, settings.deformation_options)
    objective = Objective(
        [(p.weight, p.build()) for p in settings.penalties], settings.penalty_stride
    )
    both = any(needs_inverse(penalty) for _, penalty in objective.penalties)
    grid = pair.fixed.grid
    ladder = affordable(grid, settings, both=both, tissue=pair.stiffness is not None)
    prepared = _PreparedPair.of(pair, device)
    del pair  # frees its memory unless the caller still holds it
    before, ways = _start(prepared, settings, both)
    courses: list[tuple[float, ...]] = []
    for level, iterations in ladder:
        ways, course = descend(
            objective,
            prepared.scenes(level, similarity, rng, both, settings.oversampling),
            deformation,
            [carried(u, before, level) for u in ways],
            iterations=iterations,
            step_mm=settings.step_mm * level.factor,
            until=started + settings.max_seconds if settings.max_seconds else math.inf,
        )
        before = level
        courses.append(tuple(course))
    found = _in_patient_axes(ways[0], before, prepared.level(1.0), grid)
    return Deformed(found, tuple(courses))


@dataclass(frozen=True, eq=False)
class _PreparedPair:
    """Both scans, standardised, on the device (1, 1, Z, Y, X); masks are bool."""

    shape: tuple[int, int, int]
    spacing_mm: Spacing
    images: tuple[Tensor, Tensor]
    masks: tuple[Tensor, Tensor]
    tissue: Tensor | None

    @classmethod
    def of(cls, pair: Pair, device: str) -> _PreparedPair:
        def moved(values: NDArray[Any]) -> Tensor:
            return torch.from_numpy(values)[None, None].to(device)

        return cls(
            pair.fixed.grid.shape,
            pair.fixed.grid.spacing_mm,
            (
                moved(_standardised(pair.fixed, pair.fixed_mask)),
                moved(_standardised(pair.moving, pair.moving_mask)),
            ),
            (moved(np.asarray(pair.fixed_mask) > 0), moved(np.asarray(pair.moving_mask) > 0)),
            None if pair.stiffness is None else moved(np.array(pair.stiffness, np.float32)),
        )

    def level(self, factor: float) -> Level:
        return levels(self.shape, self.spacing_mm, [factor])[0]

    def scenes(
        self,
        level: Level,
        similarity: Similarity,
        rng: torch.Generator,
        both: bool,
        oversampling: int = 1,
    ) -> list[Scene]:
        """The scene of the forward and, with ``both``, of the backward direction."""
        masks = [coarsened(mask.float(), level) for mask in self.masks]
        # The stiffness is aligned with the moving scan, which is close enough to the fixed one.
        tissue = None if self.tissue is None else coarsened(self.tissue, level)
        with torch.no_grad():
            there, *back = self._comparisons(level, similarity, rng, both, oversampling)
            scenes = [Scene.of(level, there, masks, tissue)]
            scenes += [Scene.of(level, way, masks[::-1], tissue) for way in back]
        return scenes

    def _comparisons(
        self,
        level: Level,
        similarity: Similarity,
        rng: torch.Generator,
        both: bool,
        oversampling: int,
    ) -> list[Comparison]:
        if oversampling > 1 and isinstance(similarity, Featured):
            fine = refined(level, self.spacing_mm, oversampling)
            maps = [
                coarsened(similarity.features(coarsened(image, fine), fine.spacing_mm), level)
                for image in self.images
            ]
            ways = [maps, maps[::-1]] if both else [maps]
            return [similarity.compared(a, b, level.spacing_mm) for a, b in ways]
        images = [coarsened(image, level) for image in self.images]
        ways = [images, images[::-1]] if both else [images]
        return [similarity.compare(a, b, level.spacing_mm, rng) for a, b in ways]


def _start(prepared: _PreparedPair, settings: Settings, both: bool) -> tuple[Level, list[Tensor]]:
    """Initial displacement of the first level: zero, or the result of the discrete search."""
    if settings.start == "convex":
        search = ConvexStart()
        fine, level = search.levels(prepared.shape, prepared.spacing_mm)
        features = [
            coarsened(Mind().features(coarsened(image, fine), fine.spacing_mm), level)
            for image in prepared.images
        ]
        masks = [coarsened(mask.float(), level) for mask in prepared.masks]
        there, back = search(features[0], features[1], (masks[0], masks[1]), level)
    else:
        level = prepared.level(settings.factors[0])
        there = back = torch.zeros((1, 3, *level.shape), device=prepared.images[0].device)
    return level, [there, back] if both else [there]


def _standardised(image: Volume, mask: NDArray[Any]) -> NDArray[np.float32]:
    """Intensities clipped at percentiles, then scaled to mean 0 and variance 1 in the mask."""
    inside = image.array[np.asarray(mask) > 0]
    low, high = np.percentile(inside, (TAILS_PERCENT, 100 - TAILS_PERCENT))
    inside = np.clip(inside, low, high)
    middle = inside.mean()
    spread = max(float(inside.std()), float(np.finfo(np.float32).tiny))
    prepared = np.empty(image.grid.shape, np.float32)
    for slice_, values in zip(prepared, image.array, strict=True):
        clipped = np.clip(values.astype(np.float32), low, high)
        slice_[:] = (clipped - middle) / spread
    return prepared


def _check(image: Volume, mask: NDArray[Any], name: str) -> None:
    inside = np.asarray(mask) > 0
    if inside.shape != image.array.shape:
        raise DataError(
            f"the {name} mask has {inside.shape} voxels, its scan {image.array.shape}",
            rule="a mask lies on the grid of its scan",
            code="mask-shape",
        )
    if not inside.any():
        raise mask_empty(f"the {name} mask", "its scan")
    values = image.array[inside]
    if not np.isfinite(image.array).all():
        raise DataError(
            f"the {name} scan holds NaN or infinity",
            rule=f"the {name} scan is finite",
            code="not-finite",
        )
    if values.min() == values.max():
        raise DataError(
            f"the {name} scan is {values[0]} everywhere inside its mask",
            rule=f"the {name} scan is not constant inside its mask",
            code="constant-image",
        )


def _in_patient_axes(u: Tensor, level: Level, finest: Level, grid: Grid) -> Displacement:
    """A level's displacement on the finest grid, in patient axes; computed in slabs."""
    vectors = np.empty((3, *grid.shape), np.float32)
    thick = max(1, RESULT_VOXELS // math.prod(grid.shape[1:]))
    for start in range(0, grid.shape[0], thick):
        stop = min(start + thick, grid.shape[0])
        along_axes = carried(u, level, finest, (start, stop))[0].cpu().numpy()
        turned = np.einsum("ij,jzyx->izyx", np.asarray(grid.direction), along_axes)
        vectors[:, start:stop] = turned
    return Displacement(vectors, grid)
