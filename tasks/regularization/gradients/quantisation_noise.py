"""Quantisation noise: training at weights and inputs that are off by what their rounding costs."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from synthct.tasks.models.contracts import Batch
from synthct.tasks.regularization import REGULARIZERS
from synthct.tasks.regularization.base import Step, per_sample
from synthct.tasks.regularization.gradients.displaced import (
    add_difference,
    current_gradient,
    gradient_at,
    with_gradient,
)
from synthct.tasks.regularization.layers import Filters


@REGULARIZERS.register("quantisation_noise")
@dataclass(frozen=True)
class QuantisationNoise(Filters):
    r"""The gradient is taken at weights that are off by up to half a step of their rounding.

    With strength :math:`s \le 1` the gradient becomes

    .. math:: (1 - s)\, \nabla L(w) + s\, \nabla L(w + \delta), \qquad
              \delta_i \sim \mathcal U\!\left(-\tfrac{\Delta_c}{2}, \tfrac{\Delta_c}{2}\right),
              \qquad \Delta_c = \frac{\max_i |w_{c,i}|}{2^{b - 1} - 1}

    for the weights of filter *c*: rounding to *b* bits as additive noise. Each sample of the batch
    is rounded to *b* bits of its own range with probability *s*, because 8-bit releases also round
    what enters the layers. Training finds weights at which rounding costs little.

    For synthetic CT: 8-bit releases without a loss in bone.

    Acts at ``perturb`` and ``gradient``.

    Parameters
    ----------
    bits
        Width of the rounding, from 2 to 16.
    inputs
        Whether to round samples too.

    References
    ----------
    Askari Hemmat et al., QReg: On Regularization Effects of Quantization, arXiv:2206.12372 (2022).
    """

    bits: int = 8
    inputs: bool = True

    def __post_init__(self) -> None:
        if not 2 <= self.bits <= 16:
            raise ValueError(f"bits must be from 2 to 16, got {self.bits}")

    def perturb(self, step: Step) -> Batch:
        """Round samples of ``batch.source`` (B, C, [Z,] Y, X) to the bits of their own range."""
        if not self.inputs:
            return step.batch
        source = step.batch.source
        chosen = torch.rand(source.shape[0], generator=step.rng) < step.strength
        low = source.flatten(1).min(dim=1).values
        width = source.flatten(1).max(dim=1).values - low
        unit = per_sample(width.clamp_min(1e-12) / (2**self.bits - 1), source)
        base = per_sample(low, source)
        coarse = base + torch.round((source - base) / unit) * unit
        kept = per_sample(chosen, source).to(source.device)
        return replace(step.batch, source=torch.where(kept, coarse, source))

    def gradient(self, step: Step) -> None:
        """Move the gradients towards those at the disturbed weights."""
        rng = step.rng
        torch.rand(step.batch.source.shape[0], generator=rng)  # drawn by `perturb`
        own = {id(module.weight) for _, module in self.modules(step.model)}
        parameters = with_gradient(step.model)
        noise = [
            _noise(p, self.bits, rng) if id(p) in own else torch.zeros_like(p) for p in parameters
        ]
        here = current_gradient(parameters)
        there = gradient_at(step.objective, parameters, noise, 1.0)
        add_difference(parameters, here, there, min(1.0, step.strength))


def _noise(weight: Tensor, bits: int, rng: torch.Generator) -> Tensor:
    """Uniform within half a step of the filter's rounding."""
    size = weight.detach().abs().flatten(1).max(dim=1).values / (2 ** (bits - 1) - 1)
    drawn = torch.rand(weight.shape, generator=rng, dtype=torch.float32).to(weight) - 0.5
    return drawn * per_sample(size, weight)
