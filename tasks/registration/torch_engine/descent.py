"""One level of a registration: the displacement that makes the objective small, by Adam."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tasks.registration.torch_engine.contracts import Comparison, Deformation, Level
from tasks.registration.torch_engine.pyramid import FEWEST_VOXELS
from tasks.registration.torch_engine.sampler import Sampler
from tasks.training.step import Regularizer

LOOK_AGAIN = 8
"""Steps after which it is asked again which voxels of the moving image's mask are in view."""

LAST_STEP = 0.1
"""Step at the end of a level, as a share of its first step."""


@dataclass(frozen=True, eq=False)
class Scene:
    """What one level looks at.

    Parameters
    ----------
    level
        Its grid.
    comparison
        The two images, ready to be compared.
    fixed_mask, moving_mask
        Where to look in each image (1, 1, Z, Y, X), in [0, 1].
    tissue
        Relative stiffness (1, 1, Z, Y, X) for the penalties that know tissues, or nothing.
    """

    level: Level
    comparison: Comparison
    fixed_mask: Tensor
    moving_mask: Tensor
    tissue: Tensor | None = None

    @functools.cached_property
    def sampler(self) -> Sampler:
        """Looks values up at displaced points of the level's grid."""
        return Sampler.of(self.level, self.fixed_mask)

    def where_to_look(self, u: Tensor) -> Tensor:
        """Weight (1, 1, Z, Y, X): inside the fixed mask and, displaced, inside the moving one.

        A constant to the search: to look elsewhere is no way to look better.
        """
        with torch.no_grad():
            seen = self.sampler(self.moving_mask, u) * self.sampler.inside(u)
            return self.fixed_mask * seen


@dataclass(frozen=True, eq=False)
class Objective:
    """Cost of the similarity plus the weighted penalties.

    Parameters
    ----------
    penalties
        Weights and regularizers.
    stride
        Penalties see every so-manieth voxel of the displacement, which is smoother than an image.
    """

    penalties: Sequence[tuple[float, Regularizer]]
    stride: int = 1

    def __call__(self, u: Tensor, scene: Scene, weight: Tensor) -> Tensor:
        """Value of a displacement (1, 3, Z, Y, X) [mm], looking where ``weight`` says; a scalar."""
        moved = scene.sampler(scene.comparison.moving, u)
        return scene.comparison.cost(moved, weight) + self._penalty(u, scene)

    def _penalty(self, u: Tensor, scene: Scene) -> Tensor:
        every = [min(self.stride, max(1, n // FEWEST_VOXELS)) for n in scene.level.shape]
        z, y, x = (h * step for h, step in zip(scene.level.spacing_mm, every, strict=True))
        u, tissue = _every(u, every), scene.tissue
        tissue = None if tissue is None else _every(tissue, every)
        total = u.new_zeros(())
        for weight, penalty in self.penalties:
            total = total + weight * penalty.displacement(u, (z, y, x), tissue)
        return total


def _every(values: Tensor, steps: Sequence[int]) -> Tensor:
    z, y, x = steps
    return values[..., ::z, ::y, ::x]


def descend(
    objective: Objective,
    scene: Scene,
    deformation: Deformation,
    u: Tensor,
    *,
    iterations: int,
    step_mm: float,
) -> tuple[Tensor, list[float]]:
    """The displacement after ``iterations`` steps from ``u``, and the objective at each step."""
    start, displacement = deformation.around(u.detach(), scene.level)
    parameters = start.requires_grad_()
    search = torch.optim.Adam([parameters], lr=step_mm)
    fall = torch.optim.lr_scheduler.CosineAnnealingLR(
        search, T_max=iterations, eta_min=LAST_STEP * step_mm
    )
    course: list[float] = []
    weight = scene.fixed_mask
    for number in range(iterations):
        search.zero_grad()
        now = displacement(parameters)
        if number % LOOK_AGAIN == 0:
            weight = scene.where_to_look(now.detach())
        value = objective(now, scene, weight)
        value.backward()  # type: ignore[no-untyped-call]
        course.append(value.item())
        search.step()
        fall.step()
    return displacement(parameters.detach()), course
