"""Gram iteration: a penalty on an upper bound of the Lipschitz constant of every layer."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from synthct.tasks.regularization import REGULARIZERS
from synthct.tasks.regularization.base import PeriodicPenalty, Step
from synthct.tasks.regularization.layers import Filters


@REGULARIZERS.register("gram_lipschitz")
@dataclass(frozen=True)
class GramLipschitz(Filters, PeriodicPenalty):
    r"""Upper bounds on the layers' Lipschitz constants, by Gram iteration.

    .. math:: \sum_l \max(0,\ \bar\sigma_l - \tau), \qquad
              \bar\sigma = c\,\max_\omega \left\|G_\omega^{(t)}\right\|_F^{2^{-t}}, \quad
              G^{(t+1)} = G^{(t)*} G^{(t)}

    :math:`G_\omega^{(0)}` is the kernel's Fourier transform at frequency :math:`\omega`, a
    matrix (outputs, inputs); for a linear layer its weight. Each Gram product squares the
    singular values, so that the Frobenius norm converges superlinearly to the largest one, always
    from above. The frequencies form a grid. As each axis of the transform is a trigonometric
    polynomial of degree :math:`\lfloor k/2 \rfloor`, the factor :math:`c = \cos(\pi/2p)^{-d}`
    (*p* ``oversampling``, *d* axes longer than one voxel) covers the frequencies between grid
    points. The bound holds for zero and for periodic padding at any image size and stride. No
    unit; independent of the batch.

    For synthetic CT: a bound on how much noise or a bias field of the source can change HU; the
    product over successive layers bounds the network.

    Acts at ``penalty``. The strength in the authors' code is 0.1.

    Parameters
    ----------
    iterations
        Gram products *t*; 0 gives the Frobenius norm, 5 is accurate to about one percent.
    oversampling
        *p*: the grid has :math:`2p\lfloor k/2\rfloor` frequencies along each axis; at least 2.
    threshold
        :math:`\tau`: bounds below it cost nothing; 1 as in the authors' code.
    layers
        Names of the convolutions or linear layers it acts on; empty: all of them. At ResNet-34
        widths all layers cost more than a training step.

    References
    ----------
    Delattre, Barthélemy, Araujo & Allauzen, Efficient Bound of Lipschitz Constant for
    Convolutional Layers by Gram Iteration, ICML 2023, arXiv:2305.16173.
    """

    iterations: int = 5
    oversampling: int = 4
    threshold: float = 1.0

    def __post_init__(self) -> None:
        if self.iterations < 0:
            raise ValueError(f"iterations must not be negative, got {self.iterations}")
        if self.oversampling < 2:
            raise ValueError(f"oversampling must be at least 2, got {self.oversampling}")
        if self.threshold < 0:
            raise ValueError(f"threshold must not be negative, got {self.threshold}")
        super().__post_init__()

    def cost(self, step: Step) -> Tensor:
        """Sum over the layers; a scalar without unit."""
        bounds = torch.stack([self._bound(m) for _, m in self.modules(step.model)])
        return (bounds - self.threshold).clamp_min(0).sum()

    def _bound(self, module: nn.Module) -> Tensor:
        """Upper bound on the largest singular value of a layer."""
        weight = module.weight
        assert isinstance(weight, Tensor)
        groups = getattr(module, "groups", 1)
        assert isinstance(groups, int)
        symbols, slack = _symbols(weight, groups, self.oversampling)
        with torch.no_grad():
            worst = _gram_bounds(symbols, self.iterations).argmax()
        # Only the frequency with the largest bound has a gradient.
        return slack * _gram_bounds(symbols[worst, None], self.iterations)[0]


def _symbols(weight: Tensor, groups: int, oversampling: int) -> tuple[Tensor, float]:
    """Fourier transform (frequencies, outputs, inputs) of a kernel, and the factor *c*."""
    kernels = weight.unflatten(0, (groups, -1))
    degrees = [length // 2 for length in weight.shape[2:]]
    slack = math.cos(math.pi / (2 * oversampling)) ** -sum(degree > 0 for degree in degrees)
    if degrees:
        grid = [max(1, 2 * oversampling * degree) for degree in degrees]
        kernels = torch.fft.rfftn(kernels, s=grid, dim=list(range(3, 3 + len(grid))))
    return kernels.flatten(3).movedim(-1, 1).flatten(0, 1) if degrees else kernels, slack


def _gram_bounds(symbols: Tensor, iterations: int) -> Tensor:
    """The ``2**iterations``-th root of the Frobenius norm after the Gram products, per matrix."""
    g = symbols if symbols.shape[-1] <= symbols.shape[-2] else symbols.mH
    tiny = torch.finfo(g.real.dtype).tiny
    logarithm = torch.zeros(len(g), device=g.device, dtype=g.real.dtype)
    for _ in range(iterations):
        # Dividing by the norm and keeping its logarithm prevents overflow.
        size = torch.linalg.matrix_norm(g.detach()).clamp_min(tiny)
        logarithm = 2 * (logarithm + size.log())
        g = g / size[:, None, None]
        g = g.mH @ g
    norm = torch.linalg.matrix_norm(g).clamp_min(tiny)
    bounds: Tensor = ((norm.log() + logarithm) / 2**iterations).exp()
    return bounds
