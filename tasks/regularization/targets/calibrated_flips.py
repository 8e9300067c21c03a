"""Calibrated flips: the difference of predictions between mirrored inputs predicts the error."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from synthct.tasks.regularization import REGULARIZERS
from synthct.tasks.regularization.base import PeriodicPenalty, Step

LEVELS = (0.1, 0.3, 0.5, 0.7, 0.9)
"""Probabilities at which the calibration error is measured."""


def calibration_penalty(
    error: Tensor, sigma: Tensor, weight: Tensor | None = None, *, sharpness: float = 20.0
) -> Tensor:
    r"""Mean squared difference between observed and predicted probabilities of a normal error.

    .. math:: R = \frac{1}{L}\sum_{p} \left(\frac{\sum_i w_i\, s(\tau(p - \Phi(e_i/\sigma_i)))}
              {\sum_i w_i} - p\right)^2

    with the logistic function *s* instead of a step function, so that it is differentiable. It
    is 0 (up to the smoothing) for calibrated standard deviations, and about 0.1 for extremely
    overconfident ones. A regularizer with another estimate of the standard deviation (flips,
    dropout passes through ``step.forward``, a second output) can return this from its
    ``penalty``. The stage reports a measure of the same kind, ``calibration``.

    Parameters
    ----------
    error, sigma
        Error and its predicted standard deviation: same shape, same unit (network units or HU),
        sigma > 0.
    weight
        Voxel weights, at least 0: the body mask.
    sharpness
        :math:`\tau`; larger is closer to the step.

    References
    ----------
    Dheur & Ben Taieb, A Large-Scale Study of Probabilistic Calibration in Neural Network
    Regression, ICML 2023, arXiv:2306.02738 (the regularizer PCE-KDE).
    """
    reached = torch.special.ndtr(error / sigma)
    weights = torch.ones_like(error) if weight is None else weight
    total = weights.sum().clamp(min=torch.finfo(error.dtype).tiny)
    gaps = [
        (torch.sigmoid(sharpness * (level - reached)) * weights).sum() / total - level
        for level in LEVELS
    ]
    return torch.stack(gaps).square().mean()


@REGULARIZERS.register("calibrated_flips")
@dataclass(frozen=True)
class CalibratedFlips(PeriodicPenalty):
    r"""Calibration: errors are as large as the predictions of mirrored inputs differ.

    With the predictions *a* for the patch and *b* for its mirror image (mirrored back), the
    standard deviation of a voxel is :math:`\sigma = \sqrt{(a - b)^2/4 + \varepsilon^2}`, its
    error :math:`e = t - (a + b)/2`, and the penalty the difference between predicted and observed
    probabilities over the body *m* of the batch,

    .. math:: R = \frac{1}{5}\sum_{p} \left(\frac{\sum_i m_i\, s(20\,(p - \Phi(e_i/\sigma_i)))}
              {\sum_i m_i} - p\right)^2, \quad p \in \{.1, .3, .5, .7, .9\},

    with the logistic function *s*. No unit: squared probabilities, at most about 0.1.

    For synthetic CT: ``predict --uncertainty`` and the selection of the least uncertain networks
    use the standard deviation over flips. A network trained with flips only is too consistent
    under mirroring and underestimates its error; recalibration corrects the remainder.

    Acts at ``penalty``.

    Parameters
    ----------
    least
        :math:`\varepsilon`: standard deviation where both predictions are equal [network units];
        0.005 is about 10 HU when CT is scaled from [-1024, 3071] HU.

    References
    ----------
    Dheur & Ben Taieb, A Large-Scale Study of Probabilistic Calibration in Neural Network
    Regression, ICML 2023, arXiv:2306.02738 (the regularizer PCE-KDE); the standard deviation
    over flips is this project's.
    """

    least: float = 0.005

    whole_batch: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.least <= 0:
            raise ValueError(f"least must be above 0, got {self.least}")
        super().__post_init__()

    def cost(self, step: Step) -> Tensor:
        """Mean squared calibration error, by one pass over the mirrored batch; a scalar [1]."""
        batch = step.batch
        mirrored = step.forward(batch.source.flip(-1)).flip(-1).to(step.prediction.dtype)
        sigma = ((step.prediction - mirrored).square() / 4 + self.least**2).sqrt()
        error = batch.target - (step.prediction + mirrored) / 2
        return calibration_penalty(error, sigma, batch.mask)
