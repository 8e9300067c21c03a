"""Orthonormal filter banks with modulation: gradients reach the first layers undiminished."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from synthct.tasks.regularization import REGULARIZERS
from synthct.tasks.regularization.base import Memory, Periodic, Step
from synthct.tasks.regularization.layers import Filters


@REGULARIZERS.register("orthonormal_filters")
@dataclass(frozen=True)
class OrthonormalFilters(Filters, Periodic):
    r"""Filters are pulled towards orthonormality; gradients of layers are scaled to one size.

    .. math:: \frac12 \sum_l \sum_b \left\| W_{l,b} W_{l,b}^\top - I \right\|_F^2

    The rows of :math:`W_{l,b}` are the filters of bank *b*: the whole layer if it has no more
    filters than a filter has weights, else the smallest number of banks for which that holds. A
    layer of orthonormal filters approximately preserves the length of the error :math:`\delta`
    that is backpropagated through it (quasi-isometry). Losses in activations and norms are
    compensated by modulation,

    .. math:: \nabla_{W_l} \mapsto \min\!\left(m,\ \max\!\left(\tfrac1m,\
              \frac{\|\delta_L\|_2}{\|\delta_l\|_2}\right)\right) \nabla_{W_l},

    with :math:`\delta_l` the error at the output of layer *l*, :math:`\delta_L` that of the
    last layer. The paper rescales the errors during backpropagation, in networks without skip
    connections; there the gradients are the same. Here the gradients of the named layers are
    rescaled afterwards, which also covers networks with skip connections and leaves the
    derivative of the objective unchanged: an adaptation. AdamW divides by the size of the
    gradients; with it, modulation acts only through its changes from step to step and through
    clipping. Use it with ``training.optimizer.kind: sgd``. The gradient of the penalty itself
    is not modulated. No unit.

    For synthetic CT: deep plain decoders on small batches, where the first layers learn slowly.

    Acts at ``penalty`` (where hooks that record the errors are set too) and ``gradient``.

    Parameters
    ----------
    modulation
        Whether to rescale the gradients.
    limit
        *m*: largest modulation factor.
    every
        The penalty acts at each k-th step only, k times as strongly; modulation at each step.

    References
    ----------
    Xie, Xiong & Pu, All You Need is Beyond a Good Init, CVPR 2017, arXiv:1703.01827.
    """

    modulation: bool = True
    limit: float = 10.0

    def __post_init__(self) -> None:
        if self.limit < 1:
            raise ValueError(f"limit must be at least 1, got {self.limit}")
        super().__post_init__()

    def collects(self, model: nn.Module) -> Sequence[str]:
        """The layers whose errors are compared."""
        return [name for name, _ in self.modules(model)] if self.modulation else []

    def penalty(self, step: Step) -> Tensor | None:
        """Half the sum over layers and banks; a scalar without unit."""
        _record_errors(step)
        return self._departure(step.model) if self.is_due(step) else None

    def gradient(self, step: Step) -> None:
        """Multiply the layers' gradients by their factors."""
        if not self.modulation:
            return
        own = self._own_gradients(step)
        last = next(reversed(step.memory.values()), torch.zeros(()))
        for name, size in step.memory.items():
            factor = (last / size).clamp(1 / self.limit, self.limit)
            factor = torch.where((size > 0) & (last > 0), factor, torch.ones_like(factor))
            module = step.model.get_submodule(name)
            for parameter in module.parameters(recurse=False):
                if parameter.grad is not None:
                    kept = own.get(parameter, torch.zeros_like(parameter))
                    parameter.grad = kept + factor.to(kept) * (parameter.grad - kept)

    def _departure(self, model: nn.Module) -> Tensor:
        distances = [
            _departure(bank) for _, matrix in self.matrices(model) for bank in _banks(matrix)
        ]
        return 0.5 * self.every * torch.stack(distances).sum()

    def _own_gradients(self, step: Step) -> dict[nn.Parameter, Tensor]:
        """The penalty's own part of the gradient of each weight in this step."""
        if not self.is_due(step):
            return {}
        weights = [
            weight
            for _, module in self.modules(step.model)
            if isinstance(weight := module.weight, nn.Parameter) and weight.requires_grad
        ]
        slopes = torch.autograd.grad(self._departure(step.model), weights)
        return {w: step.strength * slope for w, slope in zip(weights, slopes, strict=True)}


def _record_errors(step: Step) -> None:
    """Register hooks that store the length of each layer's error during the backward pass.

    ``step.features`` is in the order in which the layers ran, and so is the memory afterwards.
    """
    for name, feature in step.features.items():
        step.memory.pop(name, None)
        step.memory[name] = torch.zeros((), device=feature.device)
        if feature.requires_grad:
            feature.register_hook(_recorder(step.memory, name))


def _recorder(memory: Memory, name: str) -> Callable[[Tensor], None]:
    def record(error: Tensor) -> None:
        memory[name] = torch.linalg.vector_norm(error.detach().float())

    return record


def _banks(matrix: Tensor) -> Iterator[Tensor]:
    """The rows, split into the fewest parts that have no more rows than columns."""
    rows, columns = matrix.shape
    yield from torch.tensor_split(matrix, -(-rows // columns))


def _departure(bank: Tensor) -> Tensor:
    identity = torch.eye(len(bank), dtype=bank.dtype, device=bank.device)
    return ((bank @ bank.mT - identity) ** 2).sum()
