"""Random pose: source and CT are turned, scaled and stretched together in every sample."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from synthct.tasks.models.contracts import Batch
from synthct.tasks.regularization import REGULARIZERS
from synthct.tasks.regularization.base import Regularizer, Step, per_sample


@REGULARIZERS.register("random_pose")
@dataclass(frozen=True)
class RandomPose(Regularizer):
    r"""Source, target and mask are resampled in the plane under one random affine map.

    With the place *r* in the plane [mm] from the middle of the patch,

    .. math:: \tilde x(r) = x(A r),\quad \tilde y(r) = y(A r),\qquad
              A = e^{u} R(\theta) R(-\beta)
              \begin{pmatrix} e^{v} & 0 \\ 0 & e^{-v} \end{pmatrix} R(\beta)

    with the rotation *R*, :math:`\theta \sim U(-t, t)`, :math:`u \sim U(-\ln s, \ln s)`, :math:`v
    \sim U(0, \ln q / 2)` and the direction of the stretch :math:`\beta \sim U(0, \pi)`, which turns
    nothing. All slices have the same map. Interpolation is linear, so the network sees slightly
    smoother images than without. A voxel counts only if the map found all its neighbours inside the
    mask: what lies outside the patch is neither learned nor mixed into the skin. HU are kept: a
    larger bone has the same density.

    For synthetic CT: with twenty patients, limbs and heads of other sizes and other positions on
    the table than these are not seen otherwise.

    Acts at ``perturb``; the strength is the probability that a sample is changed, in [0, 1].
    ``sparse_annotation`` finds its slices as before; places inside a slice are no longer those
    of the scan.

    Parameters
    ----------
    turn_deg
        *t*, largest turn [degrees], at most 180.
    scale
        *s*, largest ratio of sizes; at least 1.
    stretch
        *q*, largest ratio of the longer to the shorter axis of what was a circle; at least 1.

    References
    ----------
    Isensee et al., nnU-Net, Nature Methods 18 (2021) 203-211, doi:10.1038/s41592-020-01008-z
    (rotation and scaling; the stretch is ours).
    """

    turn_deg: float = 15.0
    scale: float = 1.2
    stretch: float = 1.15

    def __post_init__(self) -> None:
        if not 0 <= self.turn_deg <= 180:
            raise ValueError(f"turn_deg must lie in 0 to 180, got {self.turn_deg}")
        if self.scale < 1 or self.stretch < 1:
            raise ValueError(
                f"scale and stretch must be at least 1, got {self.scale} and {self.stretch}"
            )

    def perturb(self, step: Step) -> Batch:
        """Change source (B, C, [Z,] Y, X), target and mask (B, 1, [Z,] Y, X)."""
        batch, count = step.batch, step.batch.source.shape[0]
        chosen = torch.rand(count, generator=step.rng) < step.strength
        maps = self._maps(count, step.rng)
        found = _places(maps, batch.source.shape[-2:], batch.spacing_mm[-2:]).to(batch.source)
        inside = _sampled(batch.mask, found, "zeros") > 1 - 1e-4
        keep = per_sample(chosen, batch.source).to(batch.source.device)
        return replace(
            batch,
            source=torch.where(keep, _sampled(batch.source, found, "border"), batch.source),
            target=torch.where(keep, _sampled(batch.target, found, "border"), batch.target),
            mask=torch.where(keep, inside.to(batch.mask), batch.mask),
        )

    def _maps(self, count: int, rng: torch.Generator) -> Tensor:
        """*A* of every sample: (B, 2, 2), float64, on (y, x) in mm."""

        def uniform(low: float, high: float) -> Tensor:
            return low + (high - low) * torch.rand(count, generator=rng, dtype=torch.float64)

        turn = uniform(-math.radians(self.turn_deg), math.radians(self.turn_deg))
        size = uniform(-math.log(self.scale), math.log(self.scale)).exp()
        longer = uniform(0, math.log(self.stretch) / 2).exp()
        axis = uniform(0, math.pi)
        stretched = torch.diag_embed(torch.stack([longer, 1 / longer], dim=1))
        turned = _rotation(turn - axis) @ stretched @ _rotation(axis)
        return size.view(-1, 1, 1) * turned


def _rotation(angle: Tensor) -> Tensor:
    """(B,) in radians to (B, 2, 2)."""
    cos, sin = angle.cos(), angle.sin()
    return torch.stack([torch.stack([cos, -sin], 1), torch.stack([sin, cos], 1)], 1)


def _places(maps: Tensor, shape: torch.Size, spacing_mm: tuple[float, ...]) -> Tensor:
    """Where each voxel of the plane comes from: (B, Y, X, 2), (x, y) in -1 to 1 over the patch."""
    half_mm = [length * step / 2 for length, step in zip(shape, spacing_mm, strict=True)]
    y, x = (
        (torch.arange(length, dtype=maps.dtype) + 0.5) * step - half
        for length, step, half in zip(shape, spacing_mm, half_mm, strict=True)
    )
    here = torch.stack(torch.meshgrid(y, x, indexing="ij"), dim=-1)
    there = torch.einsum("bij,yxj->byxi", maps, here)
    return (there / torch.tensor(half_mm, dtype=maps.dtype)).flip(-1)


def _sampled(values: Tensor, places: Tensor, outside: str) -> Tensor:
    """Linear interpolation in the plane; channels and slices share the places."""
    flat = values.flatten(1, -3)
    sampled = grid_sample(flat, places.to(values), "bilinear", outside, align_corners=False)
    return sampled.view_as(values)
