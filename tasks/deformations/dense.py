"""A displacement vector at every voxel."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from tasks.deformations import DEFORMATIONS
from tasks.registration.torch_engine.contracts import Level


@DEFORMATIONS.register("dense")
@dataclass(frozen=True)
class Dense:
    """The parameters are the displacement itself, (1, 3, Z, Y, X) [mm]; smooth by penalty alone."""

    def start(self, u: Tensor, level: Level) -> Tensor:
        """``u`` itself."""
        return u.clone()

    def displacement(self, parameters: Tensor, level: Level) -> Tensor:
        """The parameters themselves."""
        return parameters
