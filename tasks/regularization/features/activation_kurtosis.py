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
    1.8 for uniform and 3 for Gaussian values. The paper, on language models, also trains with
    quantised *inputs*, so that the outliers do not move into the weights; that part is not
    implemented. An adaptation to convolutions. No unit.

    For synthetic CT: models for 8-bit runtimes at the scanner; metal and air give features with
    long tails.

    Acts at ``penalty``.

    Parameters
    ----------
    layers
        Names of the layers whose outputs are penalised; empty: all activations.
    every
        Act at each k-th step only, k times as strongly: k times less computation.

    References
    ----------
    Nrusimha et al., Mitigating the Impact of Outlier Channels for Language Model Quantization
    with Activation Regularization, arXiv:2404.03605 (2024).
    """

    layers: tuple[str, ...] = ()
    every: int = 4

    role: ClassVar[Role] = EVERY_ACTIVATION

    def named(self) -> Sequence[str]:
        """``layers``."""
        return self.layers

    def collects(self, model: nn.Module) -> Sequence[str]:
        """The layers whose outputs are penalised."""
        return self.chosen(model)

    def cost(self, step: Step) -> Tensor:
        """Mean over the layers; a scalar without unit."""
        return torch.stack([kurtosis(a) for a in step.features.values()]).mean()


def kurtosis(values: Tensor) -> Tensor:
    """Fourth central moment over the squared variance, over all elements; a scalar."""
    centred = values.float() if values.dtype in (torch.bfloat16, torch.float16) else values
    squares = (centred - centred.mean()).square()
    return squares.square().mean() / (squares.mean() + FLOOR).square()
