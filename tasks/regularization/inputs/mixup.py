"""Mixup: the network should be linear between two samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from synthct.tasks.models.contracts import Batch
from synthct.tasks.regularization import REGULARIZERS
from synthct.tasks.regularization.base import Regularizer, Step
from synthct.tasks.regularization.inputs.mixing import draw_mixture


@REGULARIZERS.register("mixup")
@dataclass(frozen=True)
class Mixup(Regularizer):
    r"""Inputs and targets of two samples are mixed: :math:`\lambda a + (1-\lambda) b`.

    .. math:: \tilde x = \lambda x_i + (1-\lambda) x_j,\quad
              \tilde y = \lambda y_i + (1-\lambda) y_j,\quad
              \lambda \sim \mathrm{Beta}(\alpha, \alpha)

    for a partner *j* from the same batch. The paper interprets it as a constraint of local
    linearity outside the data manifold. An adaptation from classification: the target is an
    image, mixed voxel by voxel, and a mixed sample counts where both masks are 1. Shapes as in
    the batch, network units. A batch of one is not changed.

    For synthetic CT: a smooth map from intensity to HU between the few patients there are.

    Acts at ``perturb``; the strength is the probability that a sample is mixed, in [0, 1].

    Parameters
    ----------
    alpha
        Parameter of the Beta distribution: small values give ratios near 0 and 1, 1 is uniform.

    References
    ----------
    Guo, Mao & Zhang, MixUp as Locally Linear Out-of-Manifold Regularization, AAAI 2019,
    arXiv:1809.02499; after Zhang et al., mixup, ICLR 2018, arXiv:1710.09412.
    """

    alpha: float = 0.4

    incompatible: ClassVar[frozenset[str]] = frozenset({"adaptive_mixup", "manifold_mixup"})

    def __post_init__(self) -> None:
        if self.alpha <= 0:
            raise ValueError(f"alpha must be positive, got {self.alpha}")

    def perturb(self, step: Step) -> Batch:
        """Mix ``batch.source``, ``target`` and ``mask``."""
        count = step.batch.source.shape[0]
        return draw_mixture(self.alpha, step.strength, count, step.rng).of_batch(step.batch)
