"""TiCo: views agree, and embeddings avoid the directions that earlier ones used."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional

from synthct.tasks.pretraining.base import Features, Memory, Views
from synthct.tasks.pretraining.objectives import OBJECTIVES


@OBJECTIVES.register("tico")
@dataclass(frozen=True)
class TiCo:
    r"""Agreement of both views, :math:`\langle |z - z'|^2 / 2 + \rho\, z^T C z \rangle`.

    *z* and *z'* are the embeddings of one voxel in both views, scaled to length 1, and *C* the
    second moment of embeddings of all steps, :math:`C_t = \beta C_{t-1} + (1 - \beta) \langle z
    z^T \rangle`. Directions that many embeddings share cost more, so that the network cannot
    give every voxel the same ones. It needs neither negatives nor a large batch.

    Parameters
    ----------
    contrast
        :math:`\rho`; 0: views agree only, and embeddings collapse.
    decay
        :math:`\beta` of the moment, from 0 (this batch only) to below 1.

    References
    ----------
    Zhu, Moraes, Karakulak, Sobol, Canziani & LeCun, TiCo: Transformation Invariance and
    Covariance Contrast for Self-Supervised Visual Representation Learning, arXiv:2206.10698.
    """

    contrast: float = 8.0
    decay: float = 0.9

    def __post_init__(self) -> None:
        if self.contrast < 0:
            raise ValueError(f"contrast must not be negative, got {self.contrast}")
        if not 0 <= self.decay < 1:
            raise ValueError(f"decay must be in [0, 1), got {self.decay}")

    def __call__(self, views: Views, features: Features, memory: Memory) -> Tensor:
        """Mean over the voxels; a scalar [1]."""
        z, other = (functional.normalize(each, dim=1) for each in (features.first, features.second))
        moment = z.T @ z / len(z)
        before = memory.get("moment")
        if before is not None:
            moment = self.decay * before.to(moment) + (1 - self.decay) * moment
        memory["moment"] = moment.detach()
        agreement = (z - other).square().sum(dim=1).mean() / 2
        return agreement + self.contrast * ((z @ moment) * z).sum(dim=1).mean()
