"""INTL: views agree after an iterative whitening, whose residue is driven to zero."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from synthct.tasks.pretraining.base import Features, Memory, Views, covariance
from synthct.tasks.pretraining.objectives import OBJECTIVES


@OBJECTIVES.register("iterative_whitening")
@dataclass(frozen=True)
class IterativeWhitening:
    r"""Agreement of whitened embeddings, with a trace term that makes their spectrum flat.

    .. math:: \langle |w - w'|^2 \rangle + \beta \sum_{views} \sum_j (1 - \hat\Sigma_{jj})^2

    *w* and *w'* are the embeddings of both views, whitened by *iterations* of Newton's method
    and scaled to length 1; :math:`\hat\Sigma` is the covariance of whitened embeddings. Few
    iterations stop short of full whitening and leave small eigenvalues small;
    the trace term then asks the network itself for equal ones, where full whitening would amplify
    noise.

    Parameters
    ----------
    trace
        :math:`\beta`.
    iterations
        Newton steps towards the inverse root of the covariance.

    References
    ----------
    Weng, Ni, Song, Luo, Anwer, Khan, Khan & Huang, Modulate Your Spectrum in Self-Supervised
    Learning, ICLR 2024, arXiv:2305.16789.
    """

    trace: float = 0.05
    iterations: int = 4

    def __post_init__(self) -> None:
        if self.trace < 0:
            raise ValueError(f"trace must not be negative, got {self.trace}")
        if self.iterations < 1:
            raise ValueError(f"iterations must be at least 1, got {self.iterations}")

    def __call__(self, views: Views, features: Features, memory: Memory) -> Tensor:
        """Over the voxels of the whole batch; a scalar [1]."""
        white = [whitened(z, self.iterations) for z in (features.first, features.second)]
        a, b = (functional.normalize(each, dim=1) for each in white)
        agreement = (a - b).square().sum(dim=1).mean()
        residue = [(1 - torch.diagonal(covariance(w))).square().sum() for w in white]
        return agreement + self.trace * (residue[0] + residue[1])


def whitened(z: Tensor, iterations: int) -> Tensor:
    r"""Rows (N, D) times :math:`P_T / \sqrt{\mathrm{tr}\,\Sigma}`, near the inverse root.

    :math:`P_{k+1} = (3 P_k - P_k^3 \Sigma / \mathrm{tr}\,\Sigma) / 2` from the identity.
    """
    centred = z - z.mean(dim=0)
    sigma = covariance(z)
    total = torch.trace(sigma).clamp_min(1e-8)
    scaled = sigma / total
    root = torch.eye(z.shape[1], dtype=z.dtype, device=z.device)
    for _ in range(iterations):
        root = (3 * root - root @ root @ root @ scaled) / 2
    return centred @ root / total.sqrt()
