"""Minimum hyperspherical energy: the directions of a layer's filters repel each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from synthct.tasks.regularization import REGULARIZERS
from synthct.tasks.regularization.base import PeriodicPenalty, Step
from synthct.tasks.regularization.layers import Filters

SOFTENING = 1e-4
"""Added to squared distances (and to angles over pi): equal filters have a finite energy."""


@REGULARIZERS.register("hyperspherical_energy")
@dataclass(frozen=True)
class HypersphericalEnergy(Filters, PeriodicPenalty):
    r"""Mean energy of the filters' directions, as charges on a sphere (Thomson's problem).

    .. math:: \sum_l \frac{1}{N_l(N_l-1)} \sum_{i \ne j} f_s\!\left(d(\hat w_i, \hat w_j)\right),
              \qquad f_s(d) = d^{-s},\ f_0(d) = -\ln d, \quad \hat w = w / \|w\|_2

    over the :math:`N_l` filters of layer *l*. At the minimum the directions are distributed as
    evenly as possible, so that no two filters are redundant; lengths do not matter. Layers with
    one filter, filters with one weight and filters of length zero have no direction and are
    excluded. No unit; independent of the batch.

    For synthetic CT: fewer redundant filters, which matters when there are few patients.

    Acts at ``penalty``. The strength in the authors' code is 1, and 10 on the last layer.

    Parameters
    ----------
    power
        *s*: 0 (logarithm), 1 or 2.
    distance
        ``euclidean``: chord between directions; ``angle``: angle over pi.
    half_space
        Count the negative of every filter as a filter too, so that filters that differ only in
        sign also repel each other (the paper's half-space variant).
    layers
        Names of the convolutions or linear layers it acts on; empty: all of them. At ResNet-34
        widths all layers cost more than a training step on a CPU.

    References
    ----------
    Liu, Lin, Liu, Liu, Yu, Dai & Song, Learning towards Minimum Hyperspherical Energy,
    NeurIPS 2018, arXiv:1805.09298.
    """

    power: Literal[0, 1, 2] = 2
    distance: Literal["euclidean", "angle"] = "euclidean"
    half_space: bool = False

    def __post_init__(self) -> None:
        if self.power not in (0, 1, 2):
            raise ValueError(f"power must be 0, 1 or 2, got {self.power}")
        if self.distance not in ("euclidean", "angle"):
            raise ValueError(f"distance must be euclidean or angle, got {self.distance!r}")
        super().__post_init__()

    def cost(self, step: Step) -> Tensor | None:
        """Mean over the pairs of a layer, sum over the layers; a scalar without unit."""
        energies = [
            self._energy(matrix)
            for _, matrix in self.matrices(step.model)
            if matrix.shape[0] > 1 and matrix.shape[1] > 1
        ]
        return torch.stack(energies).sum() if energies else None

    def _energy(self, matrix: Tensor) -> Tensor:
        lengths = torch.linalg.vector_norm(matrix, dim=1, keepdim=True)
        present = lengths[:, 0] > 0
        directions = matrix[present] / lengths[present]
        if len(directions) < 2:
            return matrix.new_zeros(())
        if self.half_space:
            directions = torch.cat([directions, -directions])
        count = len(directions)
        cosines = directions @ directions.mT
        others = ~torch.eye(count, dtype=torch.bool, device=matrix.device)
        return self._repulsion(cosines[others]).sum() / (count * (count - 1))

    def _repulsion(self, cosines: Tensor) -> Tensor:
        if self.distance == "euclidean":
            squares = (2 - 2 * cosines).clamp_min(0) + SOFTENING
            return -0.5 * squares.log() if self.power == 0 else squares ** (-0.5 * self.power)
        # The derivative of the arc cosine is infinite at -1 and 1.
        angles = cosines.clamp(-1 + SOFTENING, 1 - SOFTENING).acos() / torch.pi + SOFTENING
        return -angles.log() if self.power == 0 else angles ** (-self.power)
