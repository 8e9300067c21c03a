"""Early-learning regularization: predictions stay close to those of earlier weights."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from synthct.tasks.regularization import REGULARIZERS
from synthct.tasks.regularization.base import Regularizer, Step, frozen_statistics


@REGULARIZERS.register("early_learning")
@dataclass(frozen=True)
class EarlyLearning(Regularizer):
    r"""Distance to an average of earlier predictions, :math:`\overline{|f_\theta(x) - t(x)|^2}`.

    A network first fits what most pairs agree on, and later memorises wrong ones. The term pulls
    each prediction back to *t*, the average of earlier predictions, and so counteracts the
    gradient of targets that would change it late. An adaptation: the paper classifies, with
    :math:`\log(1 - \langle p, t\rangle)` and *t* a running mean of the outputs for each sample.
    Random, flipped patches do not recur; *t* is instead the output, on the same patch, of a
    network with the running mean of the weights,

    .. math:: t(x) = f_{\bar\theta}(x), \qquad
              \bar\theta \leftarrow b\,\bar\theta + (1 - b)\,\theta,

    the weight averaging of the paper's extended method. The mean starts with the weights after
    the first step and is an arithmetic mean at first, :math:`b_k = \min(\text{memory},
    k/(k+1))`, so that the untrained network soon has no influence. It is stored in the
    checkpoint: one more copy of the weights; and it costs one more pass without gradient. The
    squared distance is averaged over the body. Unit: network units squared.

    For synthetic CT: bones that are displaced by millimetres between CT and source are targets
    that contradict each other from case to case.

    Acts at ``penalty``; the mean is updated after the optimizer, at ``project``.

    Parameters
    ----------
    memory
        *b*, weight of the previous mean at each step, in [0, 1).

    References
    ----------
    Liu, Niles-Weed, Razavian & Fernandez-Granda, Early-Learning Regularization Prevents
    Memorization of Noisy Labels, NeurIPS 2020, arXiv:2007.00151.
    """

    memory: float = 0.995

    def __post_init__(self) -> None:
        if not 0 <= self.memory < 1:
            raise ValueError(f"memory must be in [0, 1), got {self.memory}")

    def penalty(self, step: Step) -> Tensor:
        """Mean squared distance over the body, zero in the first step; a scalar."""
        mask = step.batch.mask
        if not step.memory:
            return step.prediction.new_zeros(())
        distance = (step.prediction - self._earlier(step)).square() * mask
        return distance.sum() / mask.sum().clamp(min=1)

    def project(self, step: Step) -> None:
        """Update the mean with the new weights."""
        weights = dict(step.model.named_parameters())
        if not step.memory:
            step.memory.update({name: w.detach().clone() for name, w in weights.items()})
            step.memory[COUNT] = torch.zeros((), dtype=torch.int64)
            return
        count = int(step.memory[COUNT]) + 1
        keep = min(self.memory, count / (count + 1))
        for name, weight in weights.items():
            mean = step.memory[name].to(weight)
            step.memory[name] = keep * mean + (1 - keep) * weight.detach()
        step.memory[COUNT] = torch.tensor(count)

    def _earlier(self, step: Step) -> Tensor:
        """Prediction of the mean network for this batch, without gradient."""
        model: nn.Module = step.model
        like = next(model.parameters())
        mean = {name: w.to(like.device) for name, w in step.memory.items() if name != COUNT}
        with torch.no_grad(), frozen_statistics(model):
            predicted: Tensor = torch.func.functional_call(model, mean, (step.batch.source,))
        return predicted.to(step.prediction.dtype)


COUNT = "/count"
"""Key of the memory: number of updates of the mean. No parameter can have this name."""
