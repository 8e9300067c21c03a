"""One resolution level: minimise the objective over the displacement, by Adam."""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, cast

import torch
from torch import Tensor

from synthct.tasks.fields.derivatives import Spacing
from synthct.tasks.registration.contracts import Comparison, Cost, Deformation, Level, voxels
from synthct.tasks.registration.engine.pyramid import MIN_VOXELS
from synthct.tasks.registration.sampler import Sampler
from synthct.tasks.regularization.base import Regularizer

LOOK_AGAIN = 8
"""Number of iterations between updates of the overlap of the fixed and the displaced mask."""

LAST_STEP = 0.1
"""Step size at the end of a level, relative to its initial step size [1]."""


@dataclass(frozen=True, eq=False)
class Scene:
    """The data that one level compares.

    Parameters
    ----------
    level
        Grid of the level.
    moving
        Features that are sampled at displaced points (1, C, Z, Y, X).
    cost
        Cost of the sampled features, at ``places`` or everywhere.
    fixed_mask, moving_mask
        Masks of the images (1, 1, Z, Y, X), in [0, 1].
    tissue
        Relative stiffness (1, 1, Z, Y, X) for penalties that use it, or None.
    places
        Flat indices (N,) of the voxels of the fixed mask, if the cost needs no others.
    """

    level: Level
    moving: Tensor
    cost: Cost
    fixed_mask: Tensor
    moving_mask: Tensor
    tissue: Tensor | None = None
    places: Tensor | None = None

    @classmethod
    def of(
        cls, level: Level, two: Comparison, masks: Sequence[Tensor], tissue: Tensor | None
    ) -> Scene:
        """The scene of a comparison, with the masks of the fixed and the moving image."""
        cost, places = two.cost, None
        if two.cost_of is not None:
            places = torch.nonzero(masks[0].flatten() > 0)[:, 0]
            cost = two.cost_of(places)
        return cls(level, two.moving, cost, masks[0], masks[1], tissue, places)

    @functools.cached_property
    def sampler(self) -> Sampler:
        """Interpolates values at displaced points of the level's grid."""
        return Sampler.of(self.level, self.fixed_mask)

    def dissimilarity(self, u: Tensor, weight: Tensor) -> Tensor:
        """Cost of a displacement (1, 3, Z, Y, X) [mm], weighted by ``weight``; a scalar."""
        if self.places is None:
            return self.cost(self.sampler(self.moving, u), weight)
        moved = self.sampler.at_voxels(self.moving, u, self.places)
        return self.cost(moved, voxels(weight, self.places))

    def where_to_look(self, u: Tensor) -> Tensor:
        """Weight (1, 1, Z, Y, X): overlap of the fixed mask and the displaced moving mask.

        Treated as a constant: changing the overlap must not be a way to lower the cost.
        """
        with torch.no_grad():
            seen = self.sampler(self.moving_mask, u) * self.sampler.inside(u)
            return self.fixed_mask * seen


class TwoWay(Protocol):
    """A penalty on a forward and a backward displacement."""

    def displacement(
        self, u: Tensor, spacing_mm: Spacing, tissue: Tensor | None, inverse: Tensor | None
    ) -> Tensor:
        """Both (B, 3, Z, Y, X) [mm]; a scalar."""
        ...


def needs_inverse(penalty: Regularizer) -> bool:
    """Whether the penalty compares the forward with the backward displacement."""
    return bool(getattr(penalty, "needs_inverse", False))


@dataclass(frozen=True, eq=False)
class Objective:
    """Similarity cost plus weighted penalties, summed over the directions.

    Parameters
    ----------
    penalties
        Weights and regularizers.
    stride
        Penalties use every n-th voxel of the displacement, which is smoother than an image.
    """

    penalties: Sequence[tuple[float, Regularizer]]
    stride: int = 1

    def __call__(
        self, ways: Sequence[Tensor], scenes: Sequence[Scene], weights: Sequence[Tensor]
    ) -> Tensor:
        """Objective of one displacement (1, 3, Z, Y, X) [mm], or of forward and backward.

        Each is evaluated on its own scene with its own weight; a scalar.
        """
        total = ways[0].new_zeros(())
        for u, back, scene, weight in zip(ways, reversed(ways), scenes, weights, strict=True):
            total = total + scene.dissimilarity(u, weight) + self._penalty(u, back, scene)
        return total

    def _penalty(self, u: Tensor, back: Tensor, scene: Scene) -> Tensor:
        every = [min(self.stride, max(1, n // MIN_VOXELS)) for n in scene.level.shape]
        z, y, x = (h * step for h, step in zip(scene.level.spacing_mm, every, strict=True))
        tissue = None if scene.tissue is None else _every(scene.tissue, every)
        u, back = _every(u, every), _every(back, every)
        total = u.new_zeros(())
        for weight, penalty in self.penalties:
            if needs_inverse(penalty):
                value = cast(TwoWay, penalty).displacement(u, (z, y, x), tissue, back)
            else:
                value = penalty.displacement(u, (z, y, x), tissue)
            total = total + weight * value
        return total


def _every(values: Tensor, steps: Sequence[int]) -> Tensor:
    z, y, x = steps
    return values[..., ::z, ::y, ::x]


def descend(
    objective: Objective,
    scenes: Sequence[Scene],
    deformation: Deformation,
    ways: Sequence[Tensor],
    *,
    iterations: int,
    step_mm: float,
    until: float = math.inf,
) -> tuple[list[Tensor], list[float]]:
    """Displacements after ``iterations`` steps from ``ways``, and the objective at each step.

    One scene and displacement, or two: forward and backward. No step starts once
    ``time.monotonic()`` has passed ``until``.
    """
    starts = [
        deformation.around(u.detach(), scene.level) for u, scene in zip(ways, scenes, strict=True)
    ]
    parameters = [start.requires_grad_() for start, _ in starts]
    models = [model for _, model in starts]
    search = torch.optim.Adam(parameters, lr=step_mm)
    fall = torch.optim.lr_scheduler.CosineAnnealingLR(
        search, T_max=iterations, eta_min=LAST_STEP * step_mm
    )
    course: list[float] = []
    weights = [scene.fixed_mask for scene in scenes]
    for number in range(iterations):
        if time.monotonic() > until:
            break
        search.zero_grad()
        now = [model(values) for model, values in zip(models, parameters, strict=True)]
        if number % LOOK_AGAIN == 0:
            weights = [s.where_to_look(u.detach()) for s, u in zip(scenes, now, strict=True)]
        value = objective(now, scenes, weights)
        value.backward()  # type: ignore[no-untyped-call]
        course.append(value.item())
        search.step()
        fall.step()
    return [
        model(values.detach()) for model, values in zip(models, parameters, strict=True)
    ], course
