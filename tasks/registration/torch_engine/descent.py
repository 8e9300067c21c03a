"""One level of a registration: the displacement that makes the objective small, by Adam."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tasks.registration.torch_engine.contracts import Comparison, Deformation, Level
from tasks.registration.warping import displaced_index, inside, look_up
from tasks.training.step import Regularizer

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


@dataclass(frozen=True, eq=False)
class Objective:
    """Cost of the similarity plus the weighted penalties."""

    penalties: Sequence[tuple[float, Regularizer]]

    def __call__(self, u: Tensor, scene: Scene) -> Tensor:
        """Value of a displacement (1, 3, Z, Y, X) [mm]; a scalar."""
        spacing = scene.level.spacing_mm
        index = displaced_index(u, spacing)
        moved = look_up(scene.comparison.moving, index)
        with torch.no_grad():  # where to look is not a way to look better
            seen = look_up(scene.moving_mask, index) * inside(index, scene.level.shape)[:, None]
        total = scene.comparison.cost(moved, scene.fixed_mask * seen)
        for weight, penalty in self.penalties:
            total = total + weight * penalty.displacement(u, spacing, scene.tissue)
        return total


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
    for _ in range(iterations):
        search.zero_grad()
        value = objective(displacement(parameters), scene)
        value.backward()  # type: ignore[no-untyped-call]
        course.append(value.item())
        search.step()
        fall.step()
    return displacement(parameters.detach()), course
