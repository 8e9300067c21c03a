"""Wasserstein distance to the initial weights: their distribution is kept, not each weight."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from synthct.tasks.regularization import REGULARIZERS
from synthct.tasks.regularization.base import PeriodicPenalty, Step
from synthct.tasks.regularization.layers import Filters


@REGULARIZERS.register("wasserstein_to_init")
@dataclass(frozen=True)
class WassersteinToInit(Filters, PeriodicPenalty):
    r"""Squared 2-Wasserstein distance of every layer's weights to its initial weights.

    .. math:: \sum_l n_l\,W_2^2(p_l, p_l^0) = \sum_l \sum_{i=1}^{n_l}
              \left(w_{l,(i)} - w^0_{l,(i)}\right)^2

    :math:`w_{l,(i)}` is the *i*-th smallest of the :math:`n_l` weights of layer *l*,
    :math:`w^0` the weights at the start: in one dimension the optimal transport pairs sorted
    values. The weights of a layer may be permuted without a penalty; only their distribution is
    kept, which is what makes a newly initialised network trainable. As a sum over weights it is
    comparable with weight decay at the same strength. No unit; independent of the batch.

    For synthetic CT: as ``spectral``, for training that continues from region to region; proposed
    together with that method in the first version of the paper.

    Acts at ``penalty``. It stores one sorted copy of the weights, and sorts the weights each time
    that it acts.

    Parameters
    ----------
    every
        Act at each k-th step only, k times as strongly; sorting is slow for wide networks.

    References
    ----------
    Lewandowski, Kumar, Schuurmans, György & Machado, Learning Continually by Spectral
    Regularization, arXiv:2406.06811v1 (2024).
    """

    def begin(self, step: Step) -> None:
        """Store the sorted initial weights."""
        for name, matrix in self.matrices(step.model):
            step.memory[name] = _sorted(matrix.detach()).clone()

    def cost(self, step: Step) -> Tensor:
        """Sum over the weights; a scalar without unit."""
        if not step.memory:  # the strength was zero when the run began
            self.begin(step)
        distances = [
            ((_sorted(matrix) - step.memory[name].to(matrix)) ** 2).sum()
            for name, matrix in self.matrices(step.model)
        ]
        return torch.stack(distances).sum()


def _sorted(matrix: Tensor) -> Tensor:
    return matrix.flatten().sort().values
