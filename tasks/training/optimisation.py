"""AdamW, its learning rate over the run, and the moving average of the weights."""

from __future__ import annotations

import copy
import math

import torch
from torch import nn

from synthct.tasks.training.params import OptimizerParams


def make_optimizer(model: nn.Module, params: OptimizerParams) -> torch.optim.AdamW:
    """AdamW over all parameters."""
    first, second = params.betas
    return torch.optim.AdamW(
        model.parameters(),
        lr=params.learning_rate,
        betas=(first, second),
        weight_decay=params.weight_decay,
        foreach=True,
    )


def learning_rate(step: int, total: int, params: OptimizerParams) -> float:
    """Learning rate of step ``step`` (from 0) of ``total``: a function, so nothing to resume.

    >>> halving = OptimizerParams(learning_rate=0.8, halve_every=10)
    >>> [learning_rate(step, 100, halving) for step in (0, 9, 10, 29)]
    [0.8, 0.8, 0.4, 0.2]
    """
    if params.schedule == "halving":
        return params.learning_rate * params.halving ** (step // params.halve_every)
    rising = params.warm_up * total if params.schedule == "one_cycle" else 0.0
    if step < rising:
        return params.learning_rate * (step + 1) / (rising + 1)
    progress = (step - rising) / max(1.0, total - rising)
    return params.learning_rate * 0.5 * (1 + math.cos(math.pi * progress))


class MovingAverage:
    r"""Moving average of the weights, :math:`\bar\theta \gets d\,\bar\theta + (1 - d)\,\theta`.

    The decay starts lower, ``min(decay, (1 + n) / (10 + n))`` after *n* updates, so that the
    first weights are forgotten. Buffers (running statistics) are copied.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.model = copy.deepcopy(model).requires_grad_(False)

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Take in the weights after step ``step`` (from 0)."""
        decay = min(self.decay, (1 + step) / (10 + step))
        for mean, weight in zip(self.model.parameters(), model.parameters(), strict=True):
            mean.lerp_(weight, 1 - decay)
        for kept, buffer in zip(self.model.buffers(), model.buffers(), strict=True):
            kept.copy_(buffer)
