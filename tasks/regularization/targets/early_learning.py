"""Early-learning regularization: what was learned first is kept against wrong targets."""

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

    A network fits what most pairs agree on before it memorises the wrong ones. The term pulls
    each prediction back to *t*, what the network has said so far, and so cancels the gradient of
    targets that would change it late. An adaptation: the paper classifies, with
    :math:`\log(1 - \langle p, t\rangle)` and *t* a running mean of the outputs kept for each
    sample. Random, flipped patches have no sample to keep it for; *t* is instead the output, on
    the same patch, of the running mean of the weights,

    .. math:: t(x) = f_{\bar\theta}(x), \qquad
              \bar\theta \leftarrow b\,\bar\theta + (1 - b)\,\theta,

    the weight averaging of the paper's extended method. The mean starts with the weights after
    the first step and is a plain average at first, :math:`b_k = \min(\text{memory}, k/(k+1))`,
    so that the untrained network soon stops counting. It lies in the checkpoint: one more copy
    of the weights, and one more pass without gradient. The mean is over the body. Unit: network
    units squared.

    For synthetic CT: bones that the CT shows millimetres beside where the source has them are
    targets which contradict each other from case to case.

    Acts at ``penalty``; the mean is taken after the optimizer, at ``project``.

    Parameters
    ----------
    memory
        *b*, how much of the mean is kept at each step, in [0, 1).

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
        """Mean squared distance over the body; zero as long as there is no mean; a scalar."""
        mask = step.batch.mask
        if not step.memory:
            return step.prediction.new_zeros(())
        distance = (step.prediction - self._earlier(step)).square() * mask
        return distance.sum() / mask.sum().clamp(min=1)

    def project(self, step: Step) -> None:
        """Take the new weights into the mean."""
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
        """What the mean network says of this batch; no gradient, running statistics untouched."""
        model: nn.Module = step.model
        like = next(model.parameters())
        mean = {name: w.to(like.device) for name, w in step.memory.items() if name != COUNT}
        with torch.no_grad(), frozen_statistics(model):
            said: Tensor = torch.func.functional_call(model, mean, (step.batch.source,))
        return said.to(step.prediction.dtype)


COUNT = "/count"
"""Among the memory: steps taken into the mean. No parameter can be called so."""
