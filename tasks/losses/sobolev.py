"""Sobolev norm of the error: emphasis on high or low spatial frequencies."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from synthct.tasks.losses import LOSSES
from synthct.tasks.models.contracts import Target


@LOSSES.register("sobolev")
@dataclass(frozen=True)
class Sobolev:
    r"""Squared :math:`H^s` norm of the error *e* over the body,

    .. math:: \frac{1}{\sum_i w_i} \sum_\xi \left(1 + \ell^2 |\xi|^2\right)^s |\hat e(\xi)|^2,
              \qquad e_i = \sqrt{w_i}\,(p_i - t_i)

    with the unitary Fourier transform over the patch (periodic; over Y and X for 2.5-D) and the
    angular frequency :math:`\xi` [rad/mm]. *s* = 0 is the mean squared error; *s* > 0 emphasises
    edges and texture; *s* < 0 emphasises low frequencies, which is robust to noise in the target
    and fits smooth images first. Network units squared.

    Parameters
    ----------
    order
        *s*.
    length_mm
        :math:`\ell` [mm]: for much larger structures the cost is that of *s* = 0.

    References
    ----------
    Zhu, Hu, Lou & Yang, Implicit Regularization Effects of the Sobolev Norms in Image
    Processing, arXiv:2109.06255.
    """  # noqa: D400

    order: float = 1.0
    length_mm: float = 1.0

    def __post_init__(self) -> None:
        if not -4 <= self.order <= 4:
            raise ValueError(f"order must be in [-4, 4], got {self.order}")
        if self.length_mm <= 0:
            raise ValueError(f"length_mm must be positive [mm], got {self.length_mm}")

    def __call__(self, prediction: Tensor, target: Target) -> Tensor:
        """Compare (B, 1, [Z,] Y, X) with ``target.value``; a scalar [network units squared]."""
        error = (prediction - target.value) * target.weight.sqrt()
        axes = list(range(2, error.ndim))
        squares = _squares(error.shape[2:], target.spacing_mm[-len(axes) :], error)
        spectrum = torch.fft.fftn(error, dim=axes, norm="ortho")
        power = spectrum.real.square() + spectrum.imag.square()
        weighted = power * (1 + self.length_mm**2 * squares) ** self.order
        loss: Tensor = weighted.sum() / target.weight.sum().clamp(min=1)
        return loss


def _squares(shape: Sequence[int], spacing_mm: Sequence[float], like: Tensor) -> Tensor:
    """Squared angular frequency on the grid of the transform [rad^2/mm^2]."""
    total = torch.zeros((), device=like.device, dtype=like.dtype)
    for axis, (length, step) in enumerate(zip(shape, spacing_mm, strict=True)):
        along = 2 * math.pi * torch.fft.fftfreq(length, step, device=like.device, dtype=like.dtype)
        view = [1] * len(shape)
        view[axis] = length
        total = total + along.view(view) ** 2
    return total
