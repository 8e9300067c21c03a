"""From two volumes on one grid to the displacement between them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from data.faults import DataFault
from data.volume import Displacement, Volume
from tasks.deformations import DEFORMATIONS
from tasks.registration.torch_engine.contracts import Level, Similarity
from tasks.registration.torch_engine.descent import Objective, Scene, descend
from tasks.registration.torch_engine.pyramid import carried, coarsened, levels
from tasks.registration.torch_engine.settings import Settings
from tasks.similarities import SIMILARITIES

FEWEST_VOXELS = 4
"""Along each axis: with fewer there is nothing to bend."""

TAILS_PERCENT = 0.5
"""Darkest and brightest share of the masked voxels that is clipped."""


@dataclass(frozen=True, eq=False)
class Deformed:
    """The displacement, and the objective at every step of every level."""

    displacement: Displacement
    courses: tuple[tuple[float, ...], ...]


@dataclass(frozen=True, eq=False)
class Pair:
    """Two volumes on one grid, where to look in each, and how stiff the tissue is.

    Parameters
    ----------
    fixed, moving
        Scans on the same grid: resample the moving one (after the rigid step) first.
    fixed_mask, moving_mask
        Where to look (Z, Y, X), not 0.
    stiffness
        Relative stiffness (Z, Y, X) on their grid, 1 for soft tissue, for penalties that use it.
    """

    fixed: Volume
    moving: Volume
    fixed_mask: NDArray[Any]
    moving_mask: NDArray[Any]
    stiffness: NDArray[Any] | None = None

    def __post_init__(self) -> None:
        if not self.fixed.grid.is_close(self.moving.grid):
            raise DataFault(
                "the torch engine takes two scans on one grid",
                got=f"shapes {self.fixed.grid.shape} and {self.moving.grid.shape}",
                remedy="resample the moving scan onto the fixed one",
                code="grids-differ",
            )
        if min(self.fixed.grid.shape) < FEWEST_VOXELS:
            raise DataFault(
                f"the torch engine takes at least {FEWEST_VOXELS} voxels along each axis",
                got=f"shape {self.fixed.grid.shape}",
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

    One seed gives the same bytes on one CPU and thread count.
    """
    rng = torch.Generator().manual_seed(seed)
    similarity = SIMILARITIES.build(settings.similarity, settings.similarity_options)
    deformation = DEFORMATIONS.build(settings.deformation, settings.deformation_options)
    penalties = [(p.weight, p.build()) for p in settings.penalties]
    objective = Objective(penalties, settings.penalty_stride)
    grid = pair.fixed.grid
    ladder = levels(grid.shape, grid.spacing_mm, settings.factors)
    u = torch.zeros((1, 3, *ladder[0].shape), device=device)
    before = ladder[0]
    courses: list[tuple[float, ...]] = []
    for level, iterations in zip(ladder, settings.iterations, strict=True):
        u, course = descend(
            objective,
            _scene(pair, level, similarity, rng, device),
            deformation,
            carried(u, before, level),
            iterations=iterations,
            step_mm=settings.step_mm * level.factor,
        )
        before = level
        courses.append(tuple(course))
    (finest,) = levels(grid.shape, grid.spacing_mm, [1.0])
    return Deformed(_in_patient_axes(carried(u, before, finest), pair), tuple(courses))


def _scene(
    pair: Pair, level: Level, similarity: Similarity, rng: torch.Generator, device: str
) -> Scene:
    def on_level(values: NDArray[Any]) -> Tensor:
        whole = torch.from_numpy(np.array(values, dtype=np.float32))[None, None].to(device)
        return coarsened(whole, level)

    fixed, moving = (
        on_level(_standardised(image, mask))
        for image, mask in ((pair.fixed, pair.fixed_mask), (pair.moving, pair.moving_mask))
    )
    with torch.no_grad():
        comparison = similarity.compare(fixed, moving, level.spacing_mm, rng)
    return Scene(
        level,
        comparison,
        on_level(np.asarray(pair.fixed_mask) > 0),
        on_level(np.asarray(pair.moving_mask) > 0),
        None if pair.stiffness is None else on_level(pair.stiffness),
    )


def _standardised(image: Volume, mask: NDArray[Any]) -> NDArray[np.float32]:
    """Tails clipped, then mean 0 and variance 1 inside the mask."""
    inside = image.array[np.asarray(mask) > 0]
    low, high = np.percentile(inside, (TAILS_PERCENT, 100 - TAILS_PERCENT))
    clipped = np.clip(image.array.astype(np.float32), low, high)
    within = np.clip(inside, low, high)
    spread = max(float(within.std()), float(np.finfo(np.float32).tiny))
    return np.asarray((clipped - within.mean()) / spread, dtype=np.float32)


def _check(image: Volume, mask: NDArray[Any], name: str) -> None:
    inside = np.asarray(mask) > 0
    if inside.shape != image.array.shape or not inside.any():
        raise DataFault(
            f"the {name} mask marks at least one voxel of its scan",
            got=f"{int(inside.sum())} voxels, shape {inside.shape}",
            code="mask-empty",
        )
    values = image.array[inside]
    if not np.isfinite(image.array).all():
        raise DataFault(f"the {name} scan is finite", got="NaN or infinity", code="not-finite")
    if values.min() == values.max():
        raise DataFault(
            f"the {name} scan is not constant inside its mask",
            got=f"{values[0]} everywhere",
            code="constant-image",
        )


def _in_patient_axes(u: Tensor, pair: Pair) -> Displacement:
    along_axes = u[0].cpu().numpy()
    turned = np.einsum("ij,jzyx->izyx", np.asarray(pair.fixed.grid.direction), along_axes)
    return Displacement(turned.astype(np.float32), pair.fixed.grid)
