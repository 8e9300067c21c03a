"""T-REGS: maximise the length of the minimum spanning tree of the embeddings."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse.csgraph import minimum_spanning_tree
from torch import Tensor

from synthct.tasks.pretraining.base import Features, Memory, Views
from synthct.tasks.pretraining.objectives import OBJECTIVES

SMALLEST = 1e-6
"""Length of the edge between coinciding points [1]: an edge of length 0 would count as no edge."""


@OBJECTIVES.register("spanning_tree")
@dataclass(frozen=True)
class SpanningTree:
    r"""Minus the mean edge of the minimum spanning tree, plus :math:`s\,\langle(|z| - 1)^2\rangle`.

    The tree connects the embeddings of a view, and the mean is over both views. Its length is
    largest where embeddings fill the sphere evenly, in all dimensions: it counters both collapse
    to a point and collapse to a subspace. The second term keeps them near the sphere. A term
    beside an objective that makes views agree.

    Parameters
    ----------
    sphere
        *s*, weight of the term for the sphere.
    most
        Embeddings of a view that enter; the first ones of the batch. The time rises with the
        square of it.

    References
    ----------
    Mordacq, Loiseaux, Kalogeiton & Oudot, T-REGS: Minimum Spanning Tree Regularization for
    Self-Supervised Learning, arXiv:2510.23484.
    """

    sphere: float = 1.0
    most: int = 256

    def __post_init__(self) -> None:
        if self.sphere < 0:
            raise ValueError(f"sphere must not be negative, got {self.sphere}")
        if self.most < 2:
            raise ValueError(f"most must be at least 2, got {self.most}")

    def __call__(self, views: Views, features: Features, memory: Memory) -> Tensor:
        """Mean over the views; a scalar [1]."""
        parts = [self._of(z[: self.most]) for z in (features.first, features.second)]
        return (parts[0] + parts[1]) / 2

    def _of(self, z: Tensor) -> Tensor:
        start, end = tree(z)
        length = (z[start] - z[end]).square().sum(dim=1).clamp_min(SMALLEST**2).sqrt().mean()
        off_sphere: Tensor = (z.norm(dim=1) - 1).square().mean()
        return self.sphere * off_sphere - length


def tree(z: Tensor) -> tuple[Tensor, Tensor]:
    """Ends (N - 1,) of the edges of the minimum spanning tree of points (N, D)."""
    apart = torch.cdist(z.detach(), z.detach()).double().cpu().numpy()
    edges = minimum_spanning_tree(np.maximum(apart, SMALLEST)).tocoo()
    start, end = (torch.from_numpy(np.asarray(ends, np.int64)) for ends in (edges.row, edges.col))
    return start.to(z.device), end.to(z.device)
