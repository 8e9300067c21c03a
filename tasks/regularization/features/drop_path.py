"""Drop-path: columns of a network answer alone or in random groups, so that each can answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from synthct.tasks.regularization import REGULARIZERS
from synthct.tasks.regularization.base import Regularizer, Step

COLUMNS = "columns"
"""Layer that passes the answers of all columns on, to be averaged: (B, columns, ...)."""


@REGULARIZERS.register("drop_path")
@dataclass(frozen=True)
class DropPath(Regularizer):
    r"""The mean over the columns of a network becomes one over columns drawn at random.

    .. math:: \bar a = \frac{\sum_j m_j a_j}{\sum_j m_j}

    with the answers :math:`a_j` of the columns (B, columns, ...) and :math:`m_j` in {0, 1}: with
    probability ``alone`` one column (global sampling), else each is dropped with probability
    ``drop`` and at least one stays (local sampling). In the plain mean columns rely on each other,
    and one of them alone is wrong. Here each learns to answer: shallow columns give a quick answer,
    and deep ones teach them by the mean. The network is ``unet_plus_plus`` with ``columns: true``,
    whose columns are U-Nets of growing depth; with ``answering`` *k* its first *k* columns answer
    at prediction, and no others are computed. (The paper's fractal network joins columns at many
    places, here they meet at the end: an adaptation.) No unit.

    For synthetic CT: one training gives a network for the cluster and a cheaper one for the
    scanner's console; also a regularizer for few patients.

    Acts at ``perturb``; the strength is the probability that columns of a sample are dropped, in
    [0, 1].

    Parameters
    ----------
    drop
        Probability that a column is dropped in local sampling, in [0, 1).
    alone
        Share of global sampling, in [0, 1].

    References
    ----------
    Larsson, Maire & Shakhnarovich, FractalNet: Ultra-Deep Neural Networks without Residuals, ICLR
    2017, arXiv:1605.07648.
    """

    drop: float = 0.15
    alone: float = 0.5

    incompatible: ClassVar[frozenset[str]] = frozenset({"jacobian_nuclear_norm"})

    def __post_init__(self) -> None:
        if not 0 <= self.drop < 1:
            raise ValueError(f"drop must be in [0, 1), got {self.drop}")
        if not 0 <= self.alone <= 1:
            raise ValueError(f"alone must be in [0, 1], got {self.alone}")

    def problems(self, model: nn.Module) -> list[str]:
        """That the network has no columns."""
        if self.hides(model):
            return []
        return ["the network has no columns; use unet_plus_plus with columns: true"]

    def hides(self, model: nn.Module) -> Sequence[str]:
        """The layer with the answers of all columns."""
        return [COLUMNS] if COLUMNS in dict(model.named_children()) else ()

    def hidden(self, layer: str, feature: Tensor, step: Step) -> Tensor:
        """Zero dropped columns of ``feature`` (B, columns, ...), and scale what is kept."""
        rng, (samples, columns) = step.rng, feature.shape[:2]
        draw = lambda *shape: torch.rand(shape, generator=rng)  # noqa: E731
        chosen, alone, order = draw(samples, 1), draw(samples, 1), draw(samples, columns)
        single = order == order.amax(dim=1, keepdim=True)
        local = draw(samples, columns) >= self.drop
        local = torch.where(local.any(dim=1, keepdim=True), local, single)  # one stays
        kept = torch.where(alone < self.alone, single, local) | (chosen >= step.strength)
        share = kept * columns / kept.sum(dim=1, keepdim=True)
        share = share.view(samples, columns, *(1 for _ in range(feature.ndim - 2)))
        return feature * share.to(feature)
