"""Norm Loss: each filter is pulled to unit length."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from synthct.tasks.regularization import REGULARIZERS
from synthct.tasks.regularization.base import Regularizer, Step, missing_layers

FILTERED = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)
"""Layers whose weights are filters along their first axis."""


@REGULARIZERS.register("norm_loss")
@dataclass(frozen=True)
class NormLoss(Regularizer):
    r"""Squared distance of every filter's length from one, :math:`\sum_{l,c}(1-\|w_{l,c}\|_2)^2`.

    :math:`w_{l,c}` holds all weights of output channel *c* of layer *l*: the weight matrix of
    the layer is steered smoothly towards the oblique manifold, the matrices with rows of unit
    length. Unlike weight decay it lengthens short filters as well as shortening long ones. No
    unit; it does not depend on the batch.

    For synthetic CT: small, few-patient trainings whose filters otherwise drift in scale.

    Acts at ``penalty``. The paper's strengths are 0.01 and 0.001.

    Parameters
    ----------
    layers
        Names of the convolutions or linear layers it acts on; empty: all of them.

    References
    ----------
    Georgiou, Schmitt, Bäck, Chen & Lew, Norm Loss: An efficient yet effective regularization
    method for deep neural networks, ICPR 2020, arXiv:2103.06583.
    """

    layers: tuple[str, ...] = ()

    paper: ClassVar[int | None] = 17

    def faults(self, model: nn.Module) -> list[str]:
        """Name layers that are absent or hold no filters."""
        missing = missing_layers(model, self.layers)
        if missing:
            return missing
        bare = [n for n in self.layers if not isinstance(model.get_submodule(n), FILTERED)]
        return [f"layer {name!r} is no convolution and no linear layer" for name in bare]

    def penalty(self, step: Step) -> Tensor:
        """Sum over the filters; a scalar without unit."""
        lengths = torch.cat([_lengths(weight) for weight in self._weights(step.model)])
        return ((1 - lengths) ** 2).sum()

    def _weights(self, model: nn.Module) -> Iterator[Tensor]:
        for name, module in model.named_modules():
            if isinstance(module, FILTERED) and (not self.layers or name in self.layers):
                yield module.weight


def _lengths(weight: Tensor) -> Tensor:
    """Euclidean length of each output channel's weights (a zero filter has gradient zero)."""
    lengths: Tensor = torch.linalg.vector_norm(weight.flatten(1), dim=1)
    return lengths
