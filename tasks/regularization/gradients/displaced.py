"""Gradients at weights a little way off: what finite differences in weight space are made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn


def gradient_at(
    objective: Callable[[], Tensor],
    parameters: Sequence[nn.Parameter],
    direction: Sequence[Tensor],
    distance: float | Tensor,
) -> tuple[Tensor, ...]:
    r"""Gradient of ``objective`` at :math:`\theta + \text{distance} \cdot \text{direction}`.

    The weights come back bit for bit, whatever the objective raises.
    """
    kept = [p.detach().clone() for p in parameters]
    with torch.no_grad():
        for parameter, along in zip(parameters, direction, strict=True):
            parameter.add_(distance * along)
    try:
        return torch.autograd.grad(
            objective(), list(parameters), allow_unused=True, materialize_grads=True
        )
    finally:
        with torch.no_grad():
            for parameter, before in zip(parameters, kept, strict=True):
                parameter.copy_(before)


def length_of(tensors: Sequence[Tensor]) -> Tensor:
    """Euclidean length of all tensors taken as one vector; a scalar."""
    lengths = torch.stack([torch.linalg.vector_norm(t) for t in tensors])
    length: Tensor = torch.linalg.vector_norm(lengths)
    return length
