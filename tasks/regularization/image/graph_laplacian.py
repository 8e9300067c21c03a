"""A graph Laplacian whose edges come from a first reconstruction, with its proximal map."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

import torch
from torch import Tensor

from synthct.tasks.regularization import REGULARIZERS
from synthct.tasks.regularization.base import Regularizer

Spacing = tuple[float, float, float]


@REGULARIZERS.register("graph_laplacian")
@dataclass(frozen=True)
class GraphLaplacian(Regularizer):
    r"""Sum of the absolute values of a graph Laplacian, :math:`\|L_\Psi x\|_1`.

    The voxels of an image *x* (B, C, [Z,] Y, X) are the nodes of a graph; neighbours are joined by
    edges whose weights come from a first reconstruction :math:`\Psi`:

    .. math:: (L_\Psi x)_i = \frac{1}{N} \sum_{j \sim i} w_{ij} (x_i - x_j), \qquad
              w_{ij} = \exp\left(- \frac{|\Psi_i - \Psi_j|^2}{\sigma^2}\right)

    with the number *N* of neighbours of an inner voxel. Voxels that are alike in the guide become
    alike; where the guide has an edge, none is joined to one on the other side, and the edge costs
    nothing, whatever its height. Without a guide all weights are 1, and noise and edges are blurred
    alike. Unit: that of the image.

    The proximal map is the projection onto the dual ball by fast gradient projection,

    .. math:: \mathrm{prox}_{\tau R}(x) = x - \tau L^\top q^*, \qquad
              q^* = \mathrm{argmin}_{|q_i| \le 1} \; | x - \tau L^\top q |^2 .

    For synthetic CT: a prior of cone-beam reconstructions; the first one is FDK, smoothed by total
    variation.

    Acts at ``image``.

    Parameters
    ----------
    contrast
        :math:`\sigma`: difference in the guide beyond which voxels are hardly joined
        [units of the image; relative to water in reconstructions, where 0.05 is 50 HU].
    radius
        Largest distance of neighbours [voxels]: 1 joins faces, 1.5 edges of voxels too.
    iterations
        Steps of the proximal map's gradient projection.

    References
    ----------
    Bianchi, Evangelista, Aleotti, Donatelli, Loli Piccolomini & Li, A data-dependent regularization
    method based on the graph Laplacian, arXiv:2312.16936.
    """

    contrast: float = 0.05
    radius: float = 1.0
    iterations: int = 20

    def __post_init__(self) -> None:
        if self.contrast <= 0:
            raise ValueError(f"contrast must be positive, got {self.contrast}")
        if not 1 <= self.radius <= 3:
            raise ValueError(f"radius must be between 1 and 3, got {self.radius}")
        if self.iterations < 1:
            raise ValueError(f"iterations must be at least 1, got {self.iterations}")

    def guided(self, guide: Tensor, spacing_mm: Spacing) -> GraphLaplacian:
        """The prior with the edges of a guide (B, C, [Z,] Y, X)."""
        weights = tuple(
            torch.exp(-((_here(guide, offset) - _there(guide, offset)) ** 2) / self.contrast**2)
            for offset in self._offsets(guide.ndim - 2)
        )
        return _Guided(self.contrast, self.radius, self.iterations, weights)

    def image(self, x: Tensor, spacing_mm: Spacing) -> Tensor:
        """Sum over the voxels of ``x`` (B, C, [Z,] Y, X); a scalar [units of x]."""
        return self._laplacian(x).abs().sum()

    def prox(self, x: Tensor, spacing_mm: Spacing, step: float) -> Tensor:
        """``argmin_v |v - x|^2 / 2 + step * image(v)``, to the accuracy of ``iterations``."""
        if step == 0:
            return x
        # A Laplacian's norm is at most twice its largest degree, which is at most 1 here.
        curvature = 4.0
        dual = torch.zeros_like(x)
        ahead, momentum = dual, 1.0
        for _ in range(self.iterations):
            slope = self._laplacian(x - self._laplacian(ahead))
            fresh = (ahead + slope / curvature).clamp(-step, step)
            following = (1 + (1 + 4 * momentum**2) ** 0.5) / 2
            ahead = fresh + (momentum - 1) / following * (fresh - dual)
            dual, momentum = fresh, following
        return x - self._laplacian(dual)

    def _laplacian(self, x: Tensor) -> Tensor:
        """:math:`L x`; the matrix is symmetric, so this is its transpose too."""
        offsets = self._offsets(x.ndim - 2)
        total = torch.zeros_like(x)
        for number, offset in enumerate(offsets):
            flow = (_here(x, offset) - _there(x, offset)) * self._weights(number, x)
            _here(total, offset).add_(flow)
            _there(total, offset).sub_(flow)
        return total / (2 * len(offsets))

    def _offsets(self, axes: int) -> list[tuple[int, ...]]:
        """One of each pair of opposite directions to a neighbour."""
        reach = range(-int(self.radius), int(self.radius) + 1)
        near = [
            offset
            for offset in itertools.product(reach, repeat=axes)
            if 0 < sum(step**2 for step in offset) <= self.radius**2 + 1e-9
        ]
        return [offset for offset in near if offset > (0,) * axes]

    def _weights(self, number: int, x: Tensor) -> Tensor:
        """Weights of the edges along the offset of that number."""
        return x.new_ones(())


@dataclass(frozen=True, eq=False)
class _Guided(GraphLaplacian):
    weights: tuple[Tensor, ...] = field(default=(), repr=False)

    def _weights(self, number: int, x: Tensor) -> Tensor:
        return self.weights[number].to(x)


def _here(x: Tensor, offset: tuple[int, ...]) -> Tensor:
    """The voxels that have a neighbour at ``offset``."""
    return _cut(x, [(max(0, -step), min(0, -step)) for step in offset])


def _there(x: Tensor, offset: tuple[int, ...]) -> Tensor:
    """Those neighbours."""
    return _cut(x, [(max(0, step), min(0, step)) for step in offset])


def _cut(x: Tensor, ends: list[tuple[int, int]]) -> Tensor:
    for axis, (start, stop) in zip(range(2, x.ndim), ends, strict=True):
        x = x.narrow(axis, start, x.shape[axis] - start + stop)
    return x
