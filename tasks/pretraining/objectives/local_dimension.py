"""LDReg: the neighbours of an embedding fill many dimensions."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from synthct.tasks.pretraining.base import Features, Memory, Views
from synthct.tasks.pretraining.objectives import OBJECTIVES

SMALLEST = 1e-6
"""Least distance, and least mean of the logarithms [1]."""


@OBJECTIVES.register("local_dimension")
@dataclass(frozen=True)
class LocalDimension:
    r"""Minus the mean logarithm of the local intrinsic dimension, :math:`-\langle\ln D_i\rangle`.

    .. math:: D_i = -\Big(\frac{1}{k} \sum_{j=1}^{k} \ln \frac{r_{ij}}{r_{ik}}\Big)^{-1}

    with the distances *r* to the *k* nearest embeddings of the view, in rising order: the maximum
    likelihood estimate. Embeddings may spread over all dimensions as a whole and yet lie on curves
    locally, which terms on the covariance do not see. A term beside an objective that makes views
    agree.

    Parameters
    ----------
    neighbours
        *k*, at least 2; fewer where a view has fewer embeddings.
    most
        Embeddings of a view that enter; the first ones of the batch.

    References
    ----------
    Huang, Campello, Erfani, Ma, Houle & Bailey, LDReg: Local Dimensionality Regularized
    Self-Supervised Learning, ICLR 2024, arXiv:2401.10474; estimate: Amsaleg et al., KDD 2015,
    doi:10.1145/2783258.2783405.
    """

    neighbours: int = 32
    most: int = 512

    def __post_init__(self) -> None:
        if self.neighbours < 2:
            raise ValueError(f"neighbours must be at least 2, got {self.neighbours}")
        if self.most < 4:
            raise ValueError(f"most must be at least 4, got {self.most}")

    def __call__(self, views: Views, features: Features, memory: Memory) -> Tensor:
        """Mean over the embeddings of the first view; a scalar [nats]."""
        return -dimensions(features.first[: self.most], self.neighbours).log().mean()


def dimensions(z: Tensor, neighbours: int) -> Tensor:
    """Local intrinsic dimension (N,) at each of the points (N, D)."""
    squared = (z[:, None] - z[None]).square().sum(dim=2)
    itself = torch.eye(len(z), dtype=torch.bool, device=z.device)
    apart = squared.masked_fill(itself, torch.inf)
    near = apart.topk(min(neighbours, len(z) - 1), largest=False).values  # rising
    logs = near.clamp_min(SMALLEST**2).log() / 2
    return 1 / (logs[:, -1:] - logs).mean(dim=1).clamp_min(SMALLEST)
