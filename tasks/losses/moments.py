"""Moments of the error in windows: mass, place and width of structures are right."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from synthct.tasks.losses import LOSSES
from synthct.tasks.models.contracts import Target

REACH = 2.0
"""Half width of the window's support, in standard deviations."""


@LOSSES.register("moments")
@dataclass(frozen=True)
class Moments:
    r"""Squared moments up to order 2 of the error *e* in a Gaussian window around every voxel,

    .. math:: \frac{1}{\sum_i w_i} \sum_i w_i \sum_k c_k \Big(\sum_j g(r_{ij})
              \prod_a (r_{ij,a} / \sigma)^{k_a}\, w_j (p_j - t_j)\Big)^2

    with the window *g* of standard deviation :math:`\sigma` (sum 1), the distance :math:`r_{ij}`
    of voxel *j* from *i* [mm], and :math:`c_k` = 1, ``first`` and ``second`` for the moments
    :math:`k = (k_z, k_y, k_x)` of order 0, 1 and 2. In flat patches there is no axis Z. The moments
    of order 0 are the mass (flux) of a structure, 1 its place and 2 its shape. A blurred or
    slightly displaced structure has nearly the right moments; one that has vanished has not: L1
    prefers it where its place differs from case to case. Add it to a voxel-wise loss. (The paper
    weighs moments of galaxies in windows by the noise; here the windows are Gaussian: an
    adaptation.) Network units squared.

    Parameters
    ----------
    window_mm
        :math:`\sigma` [mm]: displacements well below it cost little.
    first, second
        Weights of the moments of order 1 and 2; at least 0.

    References
    ----------
    Nammour, Akhaury, Girard, Lanusse, Sureau, Ben Ali & Starck, ShapeNet: Shape Constraint for
    Galaxy Image Deconvolution, Astron. Astrophys. 663 (2022) A69, arXiv:2203.07412.
    """  # noqa: D400

    window_mm: float = 5.0
    first: float = 0.1
    second: float = 0.1

    def __post_init__(self) -> None:
        if self.window_mm <= 0:
            raise ValueError(f"window_mm must be positive [mm], got {self.window_mm}")
        if min(self.first, self.second) < 0:
            raise ValueError(
                f"first and second must not be negative, got {self.first} and {self.second}"
            )

    def __call__(self, prediction: Tensor, target: Target) -> Tensor:
        """Compare (B, 1, [Z,] Y, X) with ``target.value``; a scalar [network units squared]."""
        error = (prediction - target.value) * target.weight
        axes = error.ndim - 2
        filters = [
            [_filter(order, step_mm, self.window_mm, error) for order in range(3)]
            for step_mm in target.spacing_mm[-axes:]
        ]
        total = error.new_zeros(())
        for orders in itertools.product(range(3), repeat=axes):
            weight = (1.0, self.first, self.second)[sum(orders)] if sum(orders) < 3 else 0.0
            if weight == 0:
                continue
            moment = error
            for axis, order in enumerate(orders):
                moment = _along(moment, filters[axis][order], axis)
            total = total + weight * (moment.square() * target.weight).sum()
        return total / target.weight.sum().clamp(min=1)


def _filter(order: int, step_mm: float, window_mm: float, like: Tensor) -> Tensor:
    """Gaussian of sum 1 times the distance in standard deviations to the power ``order``."""
    half = max(1, round(REACH * window_mm / step_mm))
    at = torch.arange(-half, half + 1, device=like.device, dtype=like.dtype) * step_mm / window_mm
    window = torch.exp(-(at**2) / 2)
    return window / window.sum() * at**order


def _along(x: Tensor, taps: Tensor, axis: int) -> Tensor:
    """Correlation of (B, C, [Z,] Y, X) with ``taps`` along one spatial axis; zeros outside."""
    moved = x.movedim(2 + axis, -1)
    rows = moved.reshape(-1, 1, moved.shape[-1])
    filtered = functional.conv1d(rows, taps.view(1, 1, -1), padding=len(taps) // 2)
    return filtered.view(moved.shape).movedim(-1, 2 + axis)
