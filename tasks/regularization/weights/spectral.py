"""Spectral regularization: the largest singular value of every layer is kept near one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from synthct.tasks.regularization import REGULARIZERS
from synthct.tasks.regularization.base import Memory, PeriodicPenalty, Step, missing_layers
from synthct.tasks.regularization.layers import FILTERED, Filters

NORMALISING = (nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm)
"""Layers whose weight acts as a diagonal matrix: one factor per channel."""

WARM_UP = 20
"""Power iterations on a newly drawn vector."""


@REGULARIZERS.register("spectral")
@dataclass(frozen=True)
class Spectral(Filters, PeriodicPenalty):
    r"""Squared distance of the largest singular values from one.

    .. math:: \sum_l \left(\sigma_{\max}(W_l)^k - 1\right)^2 + \|b_l\|_2^{2k}

    :math:`W_l` is a layer's weight as a matrix: one row per output channel for convolutions and
    linear layers; for normalisation layers the diagonal matrix of their scales, whose largest
    singular value is the largest magnitude. :math:`b_l` is the layer's bias. Unlike in an
    orthogonality penalty, the other singular values are free. No unit; independent of the batch.

    :math:`\sigma_{\max}` is estimated as :math:`\|W^\top u\|_2` with a unit vector *u* that
    tracks the leading left singular vector by power iteration, one iteration per step: products
    with the weights, no decomposition. For a convolution it is that of the reshaped kernel,
    as in the paper, not of the operator on images (for that see ``gram_lipschitz``).

    For synthetic CT: a network trained on all regions is fine-tuned on each; layers whose
    gradients have collapsed to few directions would no longer learn.

    Acts at ``penalty``; the vectors *u* advance at ``project``.

    Parameters
    ----------
    exponent
        *k*: 1, or 2 as in the conference version, which penalises large values more.
    iterations
        Power iterations each time that it acts.
    layers
        Names of the convolutions, linear or normalisation layers it acts on; empty: all.

    References
    ----------
    Lewandowski, Bortkiewicz, Kumar, György, Schuurmans, Ostaszewski & Machado, Learning
    Continually by Spectral Regularization, ICLR 2025, arXiv:2406.06811.
    """

    exponent: int = 1
    iterations: int = 1

    def __post_init__(self) -> None:
        if self.exponent < 1:
            raise ValueError(f"exponent must be at least 1, got {self.exponent}")
        if self.iterations < 1:
            raise ValueError(f"iterations must be at least 1, got {self.iterations}")
        super().__post_init__()

    def problems(self, model: nn.Module) -> list[str]:
        """Named layers that are absent or of another kind."""
        missing = missing_layers(model, self.layers)
        if missing:
            return missing
        kinds = (*FILTERED, *NORMALISING)
        bare = [name for name in self.layers if not isinstance(model.get_submodule(name), kinds)]
        return [f"layer {name!r} has no weight matrix and no scales" for name in bare]

    def begin(self, step: Step) -> None:
        """Draw the vectors and iterate them towards the leading singular vectors."""
        self._draw_missing(step)

    def cost(self, step: Step) -> Tensor:
        """Sum over the layers; a scalar without unit."""
        self._draw_missing(step)  # if the strength was zero when the run began
        sizes = [*self._matrix_norms(step), *self._largest_scales(step.model)]
        biases = [(bias**2).sum() for bias in self._biases(step.model)]
        terms = [(size**self.exponent - 1) ** 2 for size in sizes]
        terms += [square**self.exponent for square in biases]
        return torch.stack(terms).sum()

    def project(self, step: Step) -> None:
        """Update the vectors for the changed weights, in the step before they are used."""
        if (step.number + 1) % self.every:
            return
        for name, matrix in self.matrices(step.model):
            if name in step.memory:
                _advance(step.memory, name, matrix.detach(), self.iterations)

    def _draw_missing(self, step: Step) -> None:
        rng = step.rng
        for name, matrix in self.matrices(step.model):
            if name not in step.memory:
                drawn = torch.randn(matrix.shape[0], generator=rng, dtype=matrix.dtype)
                step.memory[name] = nn.functional.normalize(drawn, dim=0).to(matrix.device)
                _advance(step.memory, name, matrix.detach(), WARM_UP)

    def _matrix_norms(self, step: Step) -> Iterator[Tensor]:
        for name, matrix in self.matrices(step.model):
            yield torch.linalg.vector_norm(step.memory[name].to(matrix) @ matrix)

    def _largest_scales(self, model: nn.Module) -> Iterator[Tensor]:
        for module in self._acting(model):
            if isinstance(module, NORMALISING) and module.weight is not None:
                yield module.weight.abs().max()

    def _biases(self, model: nn.Module) -> Iterator[Tensor]:
        for module in self._acting(model):
            if isinstance(module, (*FILTERED, *NORMALISING)) and module.bias is not None:
                yield module.bias

    def _acting(self, model: nn.Module) -> Iterator[nn.Module]:
        for name, module in model.named_modules():
            if not self.layers or name in self.layers:
                yield module


def _advance(memory: Memory, name: str, matrix: Tensor, rounds: int) -> None:
    """Power iteration on ``W W^T``; a zero matrix leaves the vector unchanged."""
    u = memory[name].to(matrix)
    for _ in range(rounds):
        ahead = matrix @ (u @ matrix)
        length = torch.linalg.vector_norm(ahead)
        u = torch.where(length > 0, ahead / length.clamp_min(torch.finfo(u.dtype).tiny), u)
    memory[name] = u
