"""Evidence decay: the strength of weight decay is learned on the training data alone."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import torch
from torch import Tensor

from synthct.tasks.regularization import REGULARIZERS
from synthct.tasks.regularization.base import Regularizer, Step, frozen_statistics

Centre = Literal["zero", "start"]

SPREAD, NOISE, PENDING, SEEN, START = "spread", "noise", "pending", "seen", "start/"
"""Keys of the memory: log of the posterior's spread, mean error, the spread in this step with its
gradient and the error in this step, and the weights at the start."""

FIRST_ERROR = 0.1
"""Mean error before the first step [network units]."""

REMEMBERED = 0.95
"""Weight of the earlier steps in the mean error."""


@REGULARIZERS.register("evidence_decay")
@dataclass(frozen=True)
class EvidenceDecay(Regularizer):
    r"""Weight decay by a data-emphasized evidence lower bound, without a validation set.

    The posterior of the *D* weights is :math:`q = N(\theta, s^2 I)`, the prior
    :math:`N(\theta_0, \tau I)`, and errors are Laplace distributed with scale *b*. The bound counts
    the data :math:`\kappa` = *D* / *N* times, as without it a network's many weights would outvote
    its *N* voxels and stay at the prior. Divided by *D* and times *b*, and with the closed forms
    :math:`\tau = s^2 + \|\theta - \theta_0\|^2 / D` and *b*, the mean absolute error of
    weights drawn from the posterior, the negative
    bound is the loss ``l1`` plus

    .. math:: \left\langle |f_{\theta + s\epsilon} - t| - |f_\theta - t| \right\rangle
              + \frac{b}{2} \log\left(1 + \frac{\|\theta - \theta_0\|^2}{D s^2}\right),
              \qquad \epsilon \sim N(0, I).

    The second term is a decay with the strength :math:`b / (D \tau)`, which is thus learned: a
    spread *s* that the data tolerate makes it strong, exact weights make it weak. *s* follows its
    own gradient. Weights that start at the centre stay there: it needs a start of the usual
    random weights or, around the ``start``, that the first steps move. One more pass with
    gradient at each step. The mean is over the body. The learned strength is not that of
    another term: leave this one's at 1. Network units.

    For synthetic CT: few patients cannot spare any for the choice of a strength.

    Acts at ``penalty``; *s* and *b* are updated after the optimizer, at ``project``.

    Parameters
    ----------
    centre
        :math:`\theta_0`: ``zero``, or the weights at the ``start`` of the run, for fine-tuning.
    spread
        First *s* [units of weights].
    rate
        Largest change of :math:`\log s` in a step.

    References
    ----------
    Harvey, Petrov & Hughes, Learning Hyperparameters via a Data-Emphasized Variational Objective,
    arXiv:2502.01861 (2025).
    """

    centre: Centre = "zero"
    spread: float = 0.01
    rate: float = 0.05

    whole_batch: ClassVar[bool] = True
    """The gradient of *s* is not summed over processes, as those of the weights are."""

    def __post_init__(self) -> None:
        if self.centre not in get_args(Centre):
            raise ValueError(f"centre must be zero or start, got {self.centre!r}")
        if self.spread <= 0 or self.rate <= 0:
            raise ValueError(f"spread and rate must be positive, got {self.spread} and {self.rate}")

    def begin(self, step: Step) -> None:
        """Remember the weights that the prior is around."""
        if self.centre == "start":
            for name, weight in step.model.named_parameters():
                step.memory[START + name] = weight.detach().clone()

    def penalty(self, step: Step) -> Tensor:
        """The equation above; a scalar [network units]."""
        memory = step.memory
        first = torch.tensor(math.log(self.spread), dtype=torch.float64)
        log_spread = memory.get(SPREAD, first).to(step.prediction).requires_grad_()
        memory.setdefault(PENDING, log_spread)  # evaluated again, the first one counts
        spread = memory[PENDING].exp()
        here = _error(step, step.prediction)
        noised = _error(step, self._noised(step, spread))
        memory.setdefault(SEEN, noised.detach().cpu())
        scale = memory.get(NOISE, torch.tensor(FIRST_ERROR)).to(here)
        square, count = self._distance(step)
        return noised - here + scale / 2 * torch.log1p(square / (count * spread**2))

    def project(self, step: Step) -> None:
        """Update the spread and the scale of the errors."""
        memory = step.memory
        used, error = memory.pop(PENDING, None), memory.pop(SEEN, None)
        if used is None or used.grad is None or error is None:
            return
        before = memory.get(NOISE, torch.tensor(FIRST_ERROR)).to(error)
        slope = float(used.grad) / max(step.strength * float(before), 1e-12)
        memory[NOISE] = torch.lerp(error, before, REMEMBERED) if NOISE in memory else error
        changed = float(used.detach()) - self.rate * max(-1.0, min(1.0, slope))
        memory[SPREAD] = torch.tensor(changed, dtype=torch.float64)

    def _noised(self, step: Step, spread: Tensor) -> Tensor:
        """Prediction of weights drawn from the posterior."""
        rng = step.rng
        drawn = {}
        for name, weight in step.model.named_parameters():
            noise = torch.randn(weight.shape, generator=rng, dtype=torch.float64).to(weight)
            drawn[name] = weight + spread.to(weight) * noise
        with frozen_statistics(step.model):
            predicted: Tensor = torch.func.functional_call(step.model, drawn, (step.batch.source,))
        return predicted.to(step.prediction.dtype)

    def _distance(self, step: Step) -> tuple[Tensor, int]:
        """Squared distance from the centre of the prior, and number of weights."""
        total, count = step.prediction.new_zeros(()), 0
        for name, weight in step.model.named_parameters():
            centre = step.memory.get(START + name)
            away = weight if centre is None else weight - centre.to(weight)
            total, count = total + away.square().sum(), count + weight.numel()
        return total, count


def _error(step: Step, prediction: Tensor) -> Tensor:
    """Mean absolute error over the body; a scalar [network units]."""
    mask = step.batch.mask
    return ((prediction - step.batch.target).abs() * mask).sum() / mask.sum().clamp(min=1)
