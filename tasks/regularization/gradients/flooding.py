"""Flooding: the training objective is kept above a level."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from synthct.tasks.regularization import REGULARIZERS
from synthct.tasks.regularization.base import Regularizer, Step


@REGULARIZERS.register("flooding")
@dataclass(frozen=True)
class Flooding(Regularizer):
    r"""Descent above the level *b*, ascent below it: the objective is :math:`|L - b| + b`.

    Written as a penalty on the objective *L* so far (losses, and the penalties listed before,
    so list it last),

    .. math:: 2 \max(0,\ b - L),

    which at strength 1 is flooding, at 1/2 has no gradient below the level, and at less only
    slows descent down. Karakida et al. show its effect: a descent step and an ascent step of
    length :math:`\eta` across the level change the weights by
    :math:`-\eta(\nabla L(\theta) - \nabla L(\theta - \eta\nabla L)) \approx -\eta^2 H \nabla L`,
    the backward finite difference of gradient regularization, without extra computation. It
    flattens the minimum while the loss stays at the level. Unit: network units of the objective.

    For synthetic CT: choose the level at the error that the misregistration of the pairs causes;
    a network that fits better than that has learned the misregistration.

    Acts at ``penalty``.

    Parameters
    ----------
    level
        *b* [network units]; for L1 alone, 0.01 is about 20 HU of mean absolute error when CT is
        scaled from [-1024, 3071] HU.

    References
    ----------
    Ishida, Yamane, Sakai, Niu & Sugiyama, Do We Need Zero Training Loss After Achieving Zero
    Training Error?, ICML 2020, arXiv:2002.08709; interpreted as gradient regularization by
    Karakida et al., ICML 2023, arXiv:2210.02720.
    """

    level: float = 0.01

    whole_batch: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.level < 0:
            raise ValueError(f"level must not be negative, got {self.level}")

    def penalty(self, step: Step) -> Tensor:
        """Twice the depth below the level; a scalar [network units]."""
        return 2 * (self.level - step.value).clamp(min=0)
