"""Stationary velocity field: an invertible displacement without folding."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from synthct.tasks.registration.contracts import Level
from synthct.tasks.registration.deformations import DEFORMATIONS
from synthct.tasks.registration.deformations.dense import Dense
from synthct.tasks.registration.sampler import Sampler


@DEFORMATIONS.register("velocity")
@dataclass(frozen=True)
class Velocity:
    r"""Velocity flow, then initial displacement, :math:`(id + u_0) \circ \exp(G_\sigma * v)`.

    The parameters are *v* (1, 3, Z, Y, X) [mm], initially zero. The exponential uses scaling and
    squaring, :math:`\exp(v) = \exp(v / 2)^2`; its inverse is :math:`\exp(-v)`
    (:func:`exponential`). The flows of several levels are composed, hence invertible.

    Parameters
    ----------
    smoothing_mm
        Standard deviation of the Gaussian at factor 1 [mm].
    squarings
        Number of squarings; the velocity is first divided by two to this power.

    References
    ----------
    Arsigny, Commowick, Pennec & Ayache, MICCAI 2006, 924-931; Ashburner, NeuroImage 38 (2007)
    95-113.
    """

    smoothing_mm: float = 6.0
    squarings: int = 5

    def __post_init__(self) -> None:
        if self.smoothing_mm <= 0:
            raise ValueError(f"smoothing_mm must be positive [mm], got {self.smoothing_mm}")
        if not 1 <= self.squarings <= 12:
            raise ValueError(f"squarings must be 1 to 12, got {self.squarings}")

    def around(self, u: Tensor, level: Level) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """Zero velocity, and the map from velocity to its flow, then ``u`` (1, 3, Z, Y, X) [mm]."""
        sampler = Sampler.of(level, u)
        none, smooth = Dense(self.smoothing_mm).around(torch.zeros_like(u), level)

        def displacement(velocity: Tensor) -> Tensor:
            flow = exponential(smooth(velocity), sampler, self.squarings)
            total: Tensor = flow + sampler(u, flow)
            return total

        return none, displacement


def exponential(velocity: Tensor, sampler: Sampler, squarings: int) -> Tensor:
    """Displacement of a velocity's flow (1, 3, Z, Y, X) [mm]; negate the velocity to invert."""
    flow: Tensor = velocity / float(2**squarings)
    for _ in range(squarings):
        flow = flow + sampler(flow, flow)
    return flow
