"""Reconstruction without a prior: simultaneous algebraic steps, and conjugate gradients."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from synthct.tasks.reconstruction.base import Memory, Method, Problem
from synthct.tasks.reconstruction.methods import RECONSTRUCTION_METHODS


@RECONSTRUCTION_METHODS.register("sart")
@dataclass(frozen=True)
class Sart(Method):
    r"""Simultaneous algebraic reconstruction, view by view.

    .. math:: x \leftarrow x + \omega\, C_s^{-1} A_s^\top R_s^{-1} (p_s - A_s x)

    for each subset *s* of the views, with the row sums *R* and column sums *C* of its part of
    *A*. The order of the subsets keeps successive views far apart.

    Parameters
    ----------
    relaxation
        :math:`\omega`, in (0, 2).
    subsets
        Number of subsets of views; 0 for one view each.

    References
    ----------
    Andersen & Kak, Ultrason. Imaging 6 (1984) 81-94, doi:10.1177/016173468400600107.
    """

    relaxation: float = 0.5
    subsets: int = 0

    uses_prior = False

    def __post_init__(self) -> None:
        if not 0 < self.relaxation < 2:
            raise ValueError(f"relaxation must be between 0 and 2, got {self.relaxation}")
        if self.subsets < 0:
            raise ValueError(f"subsets must be at least 0, got {self.subsets}")

    def advance(self, problem: Problem, memory: Memory) -> None:
        """One pass over all views."""
        image, water = memory["image"], problem.water_per_mm
        for chosen in self.order(len(problem.lines)):
            part = problem.projector.of_views(chosen)
            ones = torch.ones(part.volume_shape, dtype=image.dtype, device=image.device)
            rows = part.forward(ones)
            difference = problem.lines[torch.from_numpy(chosen)] / water - part.forward(image)
            inverse = torch.where(rows > 0, 1 / rows.clamp_min(1e-6), 0)
            columns = part.transpose((rows > 0).to(rows))
            step = part.transpose(difference * inverse)
            inverse = torch.where(columns > 0, 1 / columns.clamp_min(1e-6), 0)
            image = (image + self.relaxation * inverse * step).clamp_min(0)
        memory["image"] = image

    def order(self, views: int) -> list[np.ndarray]:
        """Interleaved subsets, each as far as possible from the ones before (golden ratio)."""
        count = min(self.subsets or views, views)
        golden = (np.arange(count) * 0.6180339887498949) % 1.0
        return [np.arange(start, views, count) for start in np.argsort(np.argsort(golden))]


@RECONSTRUCTION_METHODS.register("cgls")
@dataclass(frozen=True)
class Cgls(Method):
    r"""Conjugate gradients on the normal equations :math:`A^\top W A x = A^\top W p`.

    Fewer iterations regularise: fine detail and noise come last. The result may be negative.

    References
    ----------
    Hestenes & Stiefel, J. Res. Natl. Bur. Stand. 49 (1952) 409-436, doi:10.6028/jres.049.044.
    """

    uses_prior = False

    def begin(self, problem: Problem, image: Tensor) -> Memory:
        """The residual and the first direction."""
        residual = problem.lines - problem.forward(image)
        direction = problem.transpose(problem.weighted(residual))
        return {"image": image, "residual": residual, "direction": direction, "slope": direction}

    def advance(self, problem: Problem, memory: Memory) -> None:
        """One step along the conjugate direction."""
        direction, slope = memory["direction"], memory["slope"]
        along = problem.forward(direction)
        curvature = float((problem.weighted(along) * along).sum())
        if curvature <= 0:
            return
        size = float(slope.square().sum())
        length = size / curvature
        memory["image"] = memory["image"] + length * direction
        memory["residual"] = memory["residual"] - length * along
        following = problem.transpose(problem.weighted(memory["residual"]))
        memory["slope"] = following
        memory["direction"] = following + float(following.square().sum()) / size * direction
