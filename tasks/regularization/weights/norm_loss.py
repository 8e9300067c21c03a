"""Norm Loss: each filter is pulled towards unit length."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from synthct.tasks.regularization import REGULARIZERS
from synthct.tasks.regularization.base import Step
from synthct.tasks.regularization.layers import Filters


@REGULARIZERS.register("norm_loss")
@dataclass(frozen=True)
class NormLoss(Filters):
    r"""Squared distance of every filter's length from one, :math:`\sum_{l,c}(1-\|w_{l,c}\|_2)^2`.

    :math:`w_{l,c}` are all weights of output channel *c* of layer *l*: the weight matrix of the
    layer is pulled towards the oblique manifold, the matrices with rows of unit length. Unlike
    weight decay it lengthens short filters as well as shortening long ones. No unit; independent
    of the batch.

    For synthetic CT: training with few patients, where filters otherwise drift in scale.

    Acts at ``penalty``. The paper's strengths are 0.01 and 0.001.

    References
    ----------
    Georgiou, Schmitt, Bäck, Chen & Lew, Norm Loss: An efficient yet effective regularization
    method for deep neural networks, ICPR 2020, arXiv:2103.06583.
    """

    def penalty(self, step: Step) -> Tensor:
        """Sum over the filters; a scalar without unit."""
        matrices = [matrix for _, matrix in self.matrices(step.model)]
        lengths = torch.cat([torch.linalg.vector_norm(matrix, dim=1) for matrix in matrices])
        return ((1 - lengths) ** 2).sum()
