"""A differentiable measure of miscalibration, for regularizers that act on a predicted spread."""

from __future__ import annotations

import torch
from torch import Tensor

LEVELS = (0.1, 0.3, 0.5, 0.7, 0.9)
"""Probabilities at which the gap is measured."""


def calibration_penalty(
    error: Tensor, sigma: Tensor, weight: Tensor | None = None, *, sharpness: float = 20.0
) -> Tensor:
    r"""Mean squared gap between observed and promised probabilities of a normal error.

    .. math:: R = \frac{1}{L}\sum_{p} \left(\frac{\sum_i w_i\, s(\tau(p - \Phi(e_i/\sigma_i)))}
              {\sum_i w_i} - p\right)^2

    with the logistic function *s* instead of the step, so that it has gradients. 0 (up to the
    smoothing) for calibrated spreads; about 0.1 for hopelessly overconfident ones. The hook of
    calibration regularization: a regularizer with a spread of its own (flips, dropout passes
    through ``step.forward``, a second output) returns this from its ``penalty``; nothing else
    has to be known. What the stage then reports is the gap of the same kind, ``calibration``.

    Parameters
    ----------
    error, sigma
        Same shape, same unit (network units or HU); sigma > 0.
    weight
        Voxel weights, at least 0: the body mask.
    sharpness
        :math:`\tau`; larger is closer to the step.

    References
    ----------
    Dheur & Ben Taieb, A Large-Scale Study of Probabilistic Calibration in Neural Network
    Regression, ICML (2023): the regularizer PCE-KDE.
    """
    reached = torch.special.ndtr(error / sigma)
    weights = torch.ones_like(error) if weight is None else weight
    total = weights.sum().clamp(min=torch.finfo(error.dtype).tiny)
    gaps = [
        (torch.sigmoid(sharpness * (level - reached)) * weights).sum() / total - level
        for level in LEVELS
    ]
    return torch.stack(gaps).square().mean()
