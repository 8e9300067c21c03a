"""Activation kurtosis: a penalty on outlier channels, so that features can be quantised."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from synthct.tasks.regularization import REGULARIZERS
from synthct.tasks.regularization.base import PeriodicPenalty, Step
from synthct.tasks.regularization.layers import EVERY_ACTIVATION, LayerOutputs, Role

FLOOR = 1e-6
"""Added to the variance: a constant feature map has kurtosis 0 and a finite gradient."""


@REGULARIZERS.register("activation_kurtosis")
@dataclass(frozen=True)
class ActivationKurtosis(LayerOutputs, PeriodicPenalty):
    r"""Mean kurtosis of the layers' outputs, :math:`\overline{(a-\mu)^4}\,/\,\sigma^4`.

    Mean :math:`\mu`, variance :math:`\sigma^2` and fourth moment are over all elements of a
    layer's output (batch, channels, voxels), since one quantiser with one range is used for all
    of them: a channel far larger than the others gives heavy tails and a large kurtosis. It is
    1.8 for uniform and 3 for Gaussian values.

    The other half of the paper: with ``bits`` *k* the layers that follow are trained on quantised
    *inputs*,

    .. math:: q(a) = a_0 + s\,\mathrm{round}\!\left(\frac{a - a_0}{s}\right), \qquad
              s = \frac{\max a - \min a}{2^k - 1},\quad a_0 = \min a,

    with the gradient of the identity. The kurtosis alone can move the difficulty from the features
    into the weights; on quantised inputs that costs as much as it does in the release. The paper
    learns the range and works on language models; here it is that of the batch, and the layers are
    convolutions: adaptations. No unit.

    For synthetic CT: models for 8-bit runtimes at the scanner; metal and air give features with
    long tails.

    Acts at ``penalty``, and with ``bits`` at ``perturb``, in every step.

    Parameters
    ----------
    layers
        Names of the layers whose outputs are penalised; empty: all activations.
    bits
        *k*: 2 to 16, or 0 for inputs as they are.
    every
        Act at each k-th step only, k times as strongly: k times less computation.

    References
    ----------
    Nrusimha et al., Mitigating the Impact of Outlier Channels for Language Model Quantization
    with Activation Regularization, arXiv:2404.03605 (2024).
    """

    layers: tuple[str, ...] = ()
    bits: int = 0
    every: int = 4

    role: ClassVar[Role] = EVERY_ACTIVATION

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.bits and not 2 <= self.bits <= 16:
            raise ValueError(f"bits must be 0 or from 2 to 16, got {self.bits}")

    def named(self) -> Sequence[str]:
        """``layers``."""
        return self.layers

    def collects(self, model: nn.Module) -> Sequence[str]:
        """The layers whose outputs are penalised."""
        return self.chosen(model)

    def hides(self, model: nn.Module) -> Sequence[str]:
        """The layers whose outputs are quantised."""
        return self.chosen(model) if self.bits else ()

    def hidden(self, layer: str, feature: Tensor, step: Step) -> Tensor:
        """Quantise ``feature`` (B, C, ...) to the levels of its range."""
        with torch.no_grad():
            low, high = feature.aminmax()
            size = ((high - low) / (2**self.bits - 1)).clamp(min=torch.finfo(feature.dtype).tiny)
            rounded = low + size * ((feature - low) / size).round()
        quantised: Tensor = feature + (rounded - feature).detach()
        return quantised

    def cost(self, step: Step) -> Tensor:
        """Mean over the layers; a scalar without unit."""
        return torch.stack([kurtosis(a) for a in step.features.values()]).mean()


def kurtosis(values: Tensor) -> Tensor:
    """Fourth central moment over the squared variance, over all elements; a scalar."""
    centred = values.float() if values.dtype in (torch.bfloat16, torch.float16) else values
    squares = (centred - centred.mean()).square()
    return squares.square().mean() / (squares.mean() + FLOOR).square()
