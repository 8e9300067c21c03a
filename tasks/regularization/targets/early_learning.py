"""Early-learning regularization: predictions stay close to those of early weights."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from synthct.tasks.regularization import REGULARIZERS
from synthct.tasks.regularization.base import Regularizer, Step, frozen_statistics


@REGULARIZERS.register("early_learning")
@dataclass(frozen=True)
class EarlyLearning(Regularizer):
    r"""Distance to predictions of early weights, :math:`\overline{|f_\theta(x) - t(x)|^2}`.

    A network first fits what most pairs agree on, and later memorises wrong ones. The term pulls
    each prediction to *t*, that of the network before it memorised. An adaptation: the paper
    classifies, with :math:`\log(1 - \langle p, t\rangle)` and *t* a running mean of the outputs
    for each sample. Random, flipped patches do not recur, so *t* is the output of a network whose
    weights are averaged, as in the paper's extended method,

    .. math:: t(x) = f_{\theta^*}(x), \qquad \bar\theta \leftarrow b\,\bar\theta + (1 - b)\,\theta.

    The paper's logarithm has a slope at :math:`p = t`; a squared distance has none, so with
    :math:`\theta^* = \bar\theta` the target would follow the weights and memorising would only
    be delayed. Therefore :math:`\theta^*` is the mean :math:`\bar\theta` with the least error on
    a fixed batch of held-back patches, tested every ``check`` steps. It follows as long as
    that error falls and stops when the network begins to memorise, since a wrong target of a
    training patient does not help with other patients. Under an ``l1`` loss and strength *s*
    a voxel is then fitted exactly where its target lies within :math:`1/(2s)` of *t*, and at most
    that far from *t* elsewhere: wrong targets are not reached however long the training.

    Two more copies of the weights are stored in the checkpoint. One more pass without
    gradient per step, and one each ``check`` steps. The squared distance is averaged over the
    body. Unit: network units squared.

    For synthetic CT: bones that are displaced by millimetres between CT and source are targets
    that contradict each other from case to case.

    Acts at ``penalty``; the mean is updated after the optimizer, at ``project``.

    Parameters
    ----------
    memory
        *b*, weight of the previous mean at each step, in [0, 1); smaller at first,
        :math:`\min(\text{memory}, k/(k+1))`, so that untrained weights soon have no influence.
    check
        Steps between two tests of the mean on held-back patches; at least 1.

    References
    ----------
    Liu, Niles-Weed, Razavian & Fernandez-Granda, Early-Learning Regularization Prevents
    Memorization of Noisy Labels, NeurIPS 2020, arXiv:2007.00151. Early stopping on held-back
    data: Prechelt, Neural Networks 11 (1998) 761-767, doi:10.1016/S0893-6080(98)00010-0.
    """

    memory: float = 0.995
    check: int = 10

    def __post_init__(self) -> None:
        if not 0 <= self.memory < 1:
            raise ValueError(f"memory must be in [0, 1), got {self.memory}")
        if self.check < 1:
            raise ValueError(f"check must be at least 1, got {self.check}")

    def penalty(self, step: Step) -> Tensor:
        """Mean squared distance over the body, zero before the first test; a scalar."""
        mask = step.batch.mask
        if not step.memory:
            return step.prediction.new_zeros(())
        earlier = _predicted(step, BEST, step.batch.source).to(step.prediction.dtype)
        distance = (step.prediction - earlier).square() * mask
        return distance.sum() / mask.sum().clamp(min=1)

    def project(self, step: Step) -> None:
        """Update the mean with the new weights; every ``check`` steps, test it."""
        memory, weights = step.memory, dict(step.model.named_parameters())
        if not memory:
            held = step.validation()
            memory.update({SOURCE: held.source, TARGET: held.target, MASK: held.mask})
            memory.update({MEAN + name: w.detach().clone() for name, w in weights.items()})
            memory[COUNT] = torch.zeros((), dtype=torch.int64)
        else:
            count = int(memory[COUNT]) + 1
            keep = min(self.memory, count / (count + 1))
            for name, weight in weights.items():
                mean = memory[MEAN + name].to(weight)
                memory[MEAN + name] = keep * mean + (1 - keep) * weight.detach()
            memory[COUNT] = torch.tensor(count)
            if count % self.check:
                return
        error = _held_back_error(step)
        if LEAST not in memory or error < memory[LEAST].to(error):
            memory[LEAST] = error
            memory.update({BEST + name: memory[MEAN + name].clone() for name in weights})


MEAN, BEST = "/mean/", "/best/"
"""Prefixes of the memory's weights: of the running mean, and of its best so far."""

COUNT, LEAST = "/count", "/least"
"""Keys of the memory: number of updates of the mean, and its least held-back error."""

SOURCE, TARGET, MASK = "/source", "/target", "/mask"
"""Keys of the memory: the held-back patches."""


def _predicted(step: Step, prefix: str, source: Tensor) -> Tensor:
    """Prediction of remembered weights, without gradient."""
    model: nn.Module = step.model
    weights = {n: step.memory[prefix + n].to(w) for n, w in model.named_parameters()}
    with torch.no_grad(), frozen_statistics(model):
        predicted: Tensor = torch.func.functional_call(model, weights, (source,))
    return predicted


def _held_back_error(step: Step) -> Tensor:
    """Mean absolute error of the mean network on the held-back patches [network units]."""
    held, like = step.memory, next(step.model.parameters())
    source, target, mask = (held[key].to(like.device) for key in (SOURCE, TARGET, MASK))
    error = (_predicted(step, MEAN, source) - target).abs() * mask
    return error.sum() / mask.sum().clamp(min=1)
