"""Interface of pretraining objectives: two views, their embeddings, and a memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

Memory = dict[str, Tensor]
"""Tensors of one objective that are kept from step to step and saved in every checkpoint."""


@dataclass(frozen=True, eq=False)
class Views:
    """Two windows of each scan of a batch, each altered like an image of another scanner.

    Parameters
    ----------
    first, second
        Windows (B, slices, Y, X) for 2.5-D networks, (B, 1, Z, Y, X) for 3-D ones [network units].
        They are cut at different places.
    places, partners
        Voxels of the body in both windows, (B, P, 2 or 3) [voxels]: ``places`` of the first show
        the same anatomy as ``partners`` of the second.
    hidden
        1 where a masked view hides the first window, (B, 1, [Z,] Y, X).
    hidden_places
        Voxels of the body inside it, (B, P, 2 or 3) [voxels].
    rng
        Generator of the step, which draws the same in each evaluation of it.
    """

    first: Tensor
    second: Tensor
    places: Tensor
    partners: Tensor
    hidden: Tensor
    hidden_places: Tensor
    rng: torch.Generator

    def masked(self) -> Tensor:
        """The first window with hidden voxels replaced by the mean of the others."""
        shown = 1 - self.hidden
        axes = tuple(range(1, self.first.ndim))
        weight = shown.sum(axes, keepdim=True) * self.first.shape[1]
        mean = (self.first * shown).sum(axes, keepdim=True) / weight.clamp_min(1)
        return self.first * shown + mean * self.hidden


class Features(Protocol):
    """Embeddings of voxels by the network in training and its projector."""

    @property
    def first(self) -> Tensor:
        """Embeddings (N, D) at ``places`` of the first windows; N = B P."""

    @property
    def second(self) -> Tensor:
        """Embeddings (N, D) of the same anatomy in the second windows."""

    def embedded(self, images: Tensor, places: Tensor) -> Tensor:
        """Embeddings (N, D) at ``places`` (B, P, axes) of other images of the windows' shape."""

    def predicted(self, images: Tensor, places: Tensor) -> Tensor:
        """The same after the predictor, which only objectives with a teacher use."""

    def taught(self, images: Tensor, places: Tensor) -> Tensor:
        """Embeddings by the teacher (the moving average of the network), without gradient."""


class Objective(Protocol):
    """A frozen dataclass whose fields are its options; its strength is in the params.

    It draws random numbers from ``views.rng`` alone, and changes no input but ``memory``.
    """

    def __call__(self, views: Views, features: Features, memory: Memory) -> Tensor:
        """Value of the objective to minimise; a scalar [1]."""


def standardised(values: Tensor) -> Tensor:
    """Columns of (N, D) with mean 0 and variance 1."""
    centred = values - values.mean(dim=0)
    return centred / (centred.square().mean(dim=0) + 1e-5).sqrt()


def covariance(values: Tensor) -> Tensor:
    """Covariance (D, D) of rows (N, D)."""
    centred = values - values.mean(dim=0)
    return centred.T @ centred / len(values)


def effective_rank(values: Tensor) -> float:
    r"""Effective rank of rows (N, D): :math:`e^H`, *H* the entropy of the covariance's spectrum.

    1 where all embeddings lie on a line, *D* where all directions are used alike. Source: Roy &
    Vetterli, The Effective Rank, EUSIPCO 2007.

    >>> effective_rank(torch.eye(4)[:, :3].repeat(2, 1) - 0.25) > 2.9
    True
    """
    spectrum = torch.linalg.eigvalsh(covariance(values.detach().double())).clamp_min(0)
    total = float(spectrum.sum())
    if total == 0:
        return 0.0
    share = spectrum[spectrum > 0] / total
    return float(torch.exp(-(share * share.log()).sum()))
