"""Cutout: squares of the input are blanked, so that the network learns to use their context."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from synthct.tasks.models.contracts import Batch
from synthct.tasks.regularization import REGULARIZERS
from synthct.tasks.regularization.base import Regularizer, Step, per_sample


@REGULARIZERS.register("cutout")
@dataclass(frozen=True)
class Cutout(Regularizer):
    r"""Squares of the input are blanked: :math:`x \mapsto x\,(1 - h) + c\,h`.

    *h* is 1 inside ``holes`` squares of side ``size_mm`` (cubes for 3-D patches) whose centres
    are uniform over the patch, so that part of a square may be outside it, as in the paper;
    *c* is ``fill``. The same square is blanked in all channels (neighbouring slices). The target
    is not changed: an adaptation from classification, where the label is kept. The network has
    to predict the CT inside the square from the anatomy around it.

    For synthetic CT: signal voids (metal, gas, an artefact) must not become holes in the CT.

    Acts at ``perturb``; the strength is the probability that a sample is cut, in [0, 1].

    Parameters
    ----------
    size_mm
        Side of a square in the plane [mm]; at least one voxel is blanked.
    holes
        Squares in each cut sample.
    fill
        Value inside [network units of the source]; 0 is the body's mean under the z-score.

    References
    ----------
    DeVries & Taylor, Improved Regularization of Convolutional Neural Networks with Cutout,
    arXiv:1708.04552 (2017).
    """

    size_mm: float = 32.0
    holes: int = 1
    fill: float = 0.0

    def __post_init__(self) -> None:
        if self.size_mm <= 0:
            raise ValueError(f"size_mm must be positive [mm], got {self.size_mm}")
        if self.holes < 1:
            raise ValueError(f"holes must be at least 1, got {self.holes}")

    def perturb(self, step: Step) -> Batch:
        """Blank squares of ``batch.source`` (B, C, [Z,] Y, X)."""
        source = step.batch.source
        rng = step.rng
        chosen = torch.rand(source.shape[0], generator=rng) < step.strength
        hole = self._holes(source, step.batch.spacing_mm, rng) & per_sample(chosen, source)
        return replace(step.batch, source=source.masked_fill(hole.to(source.device), self.fill))

    def _holes(
        self, source: Tensor, spacing_mm: tuple[float, float, float], rng: torch.Generator
    ) -> Tensor:
        """Whether a voxel is in a square: bool (B, 1, [Z,] Y, X)."""
        count, dims = source.shape[0], source.ndim - 2
        hole = torch.zeros((count, 1, *source.shape[2:]), dtype=torch.bool)
        for _ in range(self.holes):
            square = torch.ones_like(hole)
            for axis, mm in enumerate(spacing_mm[-dims:], start=2):
                length = source.shape[axis]
                side = max(1, round(self.size_mm / mm))
                centre = torch.randint(length, (count,), generator=rng)
                start = (centre - side // 2).view(-1, 1)
                at = torch.arange(length)
                inside = (at >= start) & (at < start + side)
                shape = [count, *(1 for _ in range(dims + 1))]
                shape[axis] = length
                square &= inside.view(shape)
            hole |= square
        return hole
