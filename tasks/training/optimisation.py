"""The optimizer, its learning rate over the run, and the moving average of the weights."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from synthct.tasks.training.params import OptimizerParams


def make_optimizer(model: nn.Module, params: OptimizerParams) -> torch.optim.Optimizer:
    """AdamW, or SGD with momentum, over all parameters."""
    first, second = params.betas
    if params.kind == "sgd":
        return torch.optim.SGD(
            model.parameters(),
            lr=params.learning_rate,
            momentum=first,
            weight_decay=params.weight_decay,
            foreach=True,
        )
    return torch.optim.AdamW(
        model.parameters(),
        lr=params.learning_rate,
        betas=(first, second),
        weight_decay=params.weight_decay,
        foreach=True,
    )


def learning_rate(step: int, total: int, params: OptimizerParams) -> float:
    """Learning rate of step ``step`` (from 0) of ``total``: stateless, so a resume needs no state.

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


def moving_average(model: nn.Module, decay: float) -> AveragedModel:
    r"""Moving average of the weights, :math:`\bar\theta \gets d\,\bar\theta + (1 - d)\,\theta`.

    The decay of update *n* (from 1) is ``min(decay, n / (9 + n))``: it starts low, so that the
    first weights are forgotten. Buffers (running statistics) are copied. ``module`` is the
    averaged network; ``state_dict()`` includes the number of updates.
    """

    def lerp(mean: Tensor, weight: Tensor, count: Tensor | int) -> Tensor:
        return torch.lerp(mean, weight, 1 - min(decay, int(count) / (9 + int(count))))

    average = AveragedModel(model, avg_fn=lerp).requires_grad_(False)
    # With 0 torch would copy the weights after the first step: here the initial weights count too.
    average.n_averaged.fill_(1)
    return average
