"""Trained rank pruning: layers come to have a low rank, and can be factorised without loss."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from synthct.tasks.regularization import REGULARIZERS
from synthct.tasks.regularization.base import Memory, Periodic, Step
from synthct.tasks.regularization.layers import Filters


@REGULARIZERS.register("trained_rank")
@dataclass(frozen=True)
class TrainedRank(Filters, Periodic):
    r"""Weights are cut to a low rank now and then, and their nuclear norm is kept small.

    For the weights of a layer as a matrix :math:`W = U S V^\top` (output channels, weights of a
    filter), at each ``every``-th step

    .. math:: W \leftarrow \sum_{i \le r} s_i u_i v_i^\top \quad \text{with the least } r
              \text{ for which} \quad \sum_{i \le r} s_i^2 \ge e \sum_i s_i^2,

    and the subgradient :math:`\sum_{i \le r} u_i v_i^\top` of the nuclear norm
    :math:`\sum_i s_i` is added to the gradient of the layer, times strength and ``every``. In
    between, training repairs what the cut has lost. The weights that may be released are cut once
    more, so the shrinker ``low_rank`` factorises them exactly. No unit.

    The paper adds the subgradient in every step; here it is added where the decomposition is
    computed anyway, ``every`` times as strongly, which has the same mean: an adaptation that saves
    time.

    For synthetic CT: releases that need half the time of a slice, where a network is larger than
    its task.

    Acts at ``gradient`` and ``project``; cuts at ``kept``.

    Parameters
    ----------
    energy
        *e*: share of the squared singular values that a cut keeps.
    every
        Steps from one cut to the next.

    References
    ----------
    Xu et al., TRP: Trained Rank Pruning for Efficient Deep Neural Networks, IJCAI 2020,
    arXiv:2004.14566.
    """

    energy: float = 0.98
    every: int = 20

    def __post_init__(self) -> None:
        if not 0 < self.energy <= 1:
            raise ValueError(f"energy must be in (0, 1], got {self.energy}")
        super().__post_init__()

    def gradient(self, step: Step) -> None:
        """Add the subgradient of the nuclear norms."""
        if not self.is_due(step):
            return
        for _, module in self.modules(step.model):
            weight = module.weight
            assert isinstance(weight, nn.Parameter)
            if weight.grad is not None:
                u, s, v = _decomposed(weight)
                kept = s > 1e-6 * s[0]
                slope = (u[:, kept] @ v[kept]).reshape(weight.shape).to(weight)
                weight.grad = weight.grad + step.strength * self.every * slope

    def project(self, step: Step) -> None:
        """Cut every layer to the least rank that keeps the energy."""
        if self.is_due(step):
            self._cut(step.model)

    def kept(self, model: nn.Module, memory: Memory) -> None:
        """Cut the weights that may be released."""
        self._cut(model)

    def _cut(self, model: nn.Module) -> None:
        with torch.no_grad():
            for _, module in self.modules(model):
                weight = module.weight
                assert isinstance(weight, Tensor)
                u, s, v = _decomposed(weight)
                share = torch.cumsum(s**2, 0)
                rank = int((share < self.energy * share[-1] * (1 - 1e-12)).sum()) + 1
                if rank < len(s):
                    cut = (u[:, :rank] * s[:rank]) @ v[:rank]
                    weight.copy_(cut.reshape(weight.shape))


def _decomposed(weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """U, S and V transposed of the weights as a matrix, in double precision."""
    u, s, v = torch.linalg.svd(weight.detach().double().flatten(1), full_matrices=False)
    return u, s, v
