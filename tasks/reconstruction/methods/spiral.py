"""SPIRAL: the Poisson likelihood of the counts with a prior."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from synthct.data.errors import UsageError
from synthct.tasks.reconstruction.base import Memory, Method, Problem
from synthct.tasks.reconstruction.methods import RECONSTRUCTION_METHODS


@RECONSTRUCTION_METHODS.register("spiral")
@dataclass(frozen=True)
class Spiral(Method):
    r"""Separable quadratic steps on the Poisson likelihood, accepted only downhill.

    Counts *y* behind an object are Poisson with mean :math:`I_0 e^{-Ax}`, so that

    .. math:: \Phi(x) = \frac{1}{L_y} \sum_r \left( I_0 e^{-(Ax)_r} + y_r (Ax)_r \right)
              + \lambda R(x), \qquad x \ge 0

    with :math:`L_y = \|A^\top \mathrm{diag}(y) A\|`. Each iteration solves

    .. math:: x_{k+1} = \mathrm{argmin}_{x \ge 0} \; \frac{1}{2} \| x - x_k
              + \tfrac{1}{\alpha_k} \nabla \Phi_0(x_k) \|^2 + \frac{\lambda}{\alpha_k} R(x)

    by the prior's proximal map, with the curvature :math:`\alpha_k` of Barzilai and Borwein,
    doubled until the objective falls below its value before by
    :math:`\frac{\sigma \alpha_k}{2} \|x_{k+1} - x_k\|^2`. The paper has emission data, with mean
    *Ax*; steps and acceptance are the same.

    Parameters
    ----------
    acceptance
        :math:`\sigma`, in (0, 1).
    tries
        Largest number of doublings; then the image is left as it is.

    References
    ----------
    Harmany, Marcia & Willett, IEEE Trans. Image Process. 21 (2012) 1084-1096,
    doi:10.1109/TIP.2011.2168410, arXiv:1005.4274. Transmission: Erdogan & Fessler, Phys. Med.
    Biol. 44 (1999) 2835-2851, doi:10.1088/0031-9155/44/11/311.
    """

    acceptance: float = 0.1
    tries: int = 30

    def __post_init__(self) -> None:
        if not 0 < self.acceptance < 1:
            raise ValueError(f"acceptance must be between 0 and 1, got {self.acceptance}")
        if self.tries < 1:
            raise ValueError(f"tries must be at least 1, got {self.tries}")

    def begin(self, problem: Problem, image: Tensor) -> Memory:
        """The first image, its projection, and the curvature's bound."""
        if problem.counts is None:
            raise UsageError(
                "the projections are line integrals",
                rule="the method spiral needs the counts and those of the open beam",
                remedy="give the counts, or take the method fista",
                code="no-counts",
            )
        start = image.clamp_min(0)
        scale = self._scale(problem)
        lines = problem.forward(start)
        slope = self._slope(problem, lines, scale)
        value = torch.tensor(self._value(problem, start, lines, scale), dtype=torch.float64)
        return {
            "image": start, "lines": lines, "slope": slope, "value": value,
            "curvature": torch.ones(()), "scale": torch.tensor(scale),
        }  # fmt: skip

    def advance(self, problem: Problem, memory: Memory) -> None:
        """One accepted step."""
        before, slope, scale = memory["image"], memory["slope"], float(memory["scale"])
        curvature, value = float(memory["curvature"]), float(memory["value"])
        for _ in range(self.tries):
            image = problem.prox(before - slope / curvature, 1 / curvature)
            lines = problem.forward(image)
            found = self._value(problem, image, lines, scale)
            moved = float((image - before).square().sum())
            if found <= value - self.acceptance * curvature / 2 * moved:
                break
            curvature *= 2
        else:
            return
        following = self._slope(problem, lines, scale)
        turn = float(((following - slope) * (image - before)).sum())
        # if the step or the curvature is 0, the bound of the likelihood is a safe choice
        fresh = min(max(turn / moved, 1e-3), 1e3) if moved > 0 else 1.0
        memory.update(image=image, lines=lines, slope=following)
        memory["value"] = torch.tensor(found, dtype=torch.float64)
        memory["curvature"] = torch.tensor(fresh)

    def _scale(self, problem: Problem) -> float:
        counts = problem.counts
        assert counts is not None  # begin refuses it
        weighted = Problem(problem.projector, problem.lines, problem.water_per_mm, counts)
        return weighted.lipschitz

    def _value(self, problem: Problem, image: Tensor, lines: Tensor, scale: float) -> float:
        counts = problem.counts
        assert counts is not None
        expected = problem.open_beam * torch.exp(-lines)
        likelihood = (expected + counts * lines).sum(dtype=torch.float64) / scale
        return float(likelihood) + problem.prior_term(image)

    def _slope(self, problem: Problem, lines: Tensor, scale: float) -> Tensor:
        counts = problem.counts
        assert counts is not None
        return problem.transpose(counts - problem.open_beam * torch.exp(-lines)) / scale
