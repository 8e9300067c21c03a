"""Structure completeness: thin and small structures must not be lost."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from synthct.tasks.losses import LOSSES
from synthct.tasks.losses.pointwise import as_hu, inside
from synthct.tasks.models.contracts import Target

TINY = 1e-9


@LOSSES.register("structure_completeness")
@dataclass(frozen=True)
class StructureCompleteness:
    r"""One minus the completeness of structures, averaged over HU windows.

    .. math:: 1 - \frac{1}{2}\left(
        \frac{\sum S(T)\,\min(P, T)}{\sum S(T)\,T} + \frac{\sum S(P)\,\min(P, T)}{\sum S(P)\,P}
        \right)

    *T* and *P* are soft memberships of target and prediction in a structure (a logistic step of
    width ``softness_hu`` at each end of its HU window), *S* is 1 for the volume term and the
    soft skeleton for the centre-line term, and the loss is a weighted mean of both, by
    ``skeleton``. The first fraction is sensitivity, the second precision. A thin cortex has little
    weight in a mean error, but full weight in its skeleton. An adaptation: the paper segments
    organs with a trained network; HU windows need no network, but do not separate organs of equal
    density. A structure that is absent from the batch adds nothing. In [0, 1], without unit.

    Parameters
    ----------
    windows_hu
        Pairs (low, high) [HU]; bone, and lung with airways by default.
    softness_hu
        Width of the step at the ends of a window [HU].
    skeleton
        Weight of the centre-line term, in [0, 1].
    thinning
        Iterations of the soft skeleton: half the thickness of a thin structure [voxels].

    References
    ----------
    Lin, Li, Zhuang, Chen, Cai, Ding, Yuille & Zhou, Are Pixel-Wise Metrics Reliable for
    Sparse-View Computed Tomography Reconstruction? (CARE), arXiv:2506.02093; skeletons
    after Shit et al., clDice, CVPR 2021.
    """

    windows_hu: tuple[tuple[float, float], ...] = ((200.0, 4000.0), (-950.0, -400.0))
    softness_hu: float = 50.0
    skeleton: float = 0.5
    thinning: int = 3

    def __post_init__(self) -> None:
        if not self.windows_hu or any(low >= high for low, high in self.windows_hu):
            raise ValueError(f"windows_hu must be pairs of low < high, got {self.windows_hu}")
        if self.softness_hu <= 0:
            raise ValueError(f"softness_hu must be positive [HU], got {self.softness_hu}")
        if not 0 <= self.skeleton <= 1:
            raise ValueError(f"skeleton must be in [0, 1], got {self.skeleton}")
        if self.thinning < 1:
            raise ValueError(f"thinning must be at least 1 [voxels], got {self.thinning}")

    def __call__(self, prediction: Tensor, target: Target) -> Tensor:
        """Compare (B, 1, [Z,] Y, X) with ``target.value``; a scalar in [0, 1]."""
        p_hu = as_hu(inside(prediction, target), target)
        t_hu = as_hu(target.value, target)
        lost = [self._lost(p_hu, t_hu, target.weight, *window) for window in self.windows_hu]
        return torch.stack(lost).mean()

    def _lost(self, p_hu: Tensor, t_hu: Tensor, weight: Tensor, low: float, high: float) -> Tensor:
        """Incompleteness of one structure."""
        p, t = (self._member(hu, low, high) for hu in (p_hu, t_hu))
        both = torch.minimum(p, t)
        volume = _lost(both, p, t, weight, weight)
        if self.skeleton == 0:
            return volume
        centre_p, centre_t = (weight * soft_skeleton(m, self.thinning) for m in (p, t))
        centre = _lost(both, p, t, centre_p, centre_t)
        return (1 - self.skeleton) * volume + self.skeleton * centre

    def _member(self, hu: Tensor, low: float, high: float) -> Tensor:
        above, below = (hu - low) / self.softness_hu, (high - hu) / self.softness_hu
        return torch.sigmoid(above) * torch.sigmoid(below)


def _lost(both: Tensor, p: Tensor, t: Tensor, at_p: Tensor, at_t: Tensor) -> Tensor:
    """Mean of one minus sensitivity and one minus precision."""
    lost = (at_t * (t - both)).mean() / ((at_t * t).mean() + TINY)
    invented = (at_p * (p - both)).mean() / ((at_p * p).mean() + TINY)
    return (lost + invented) / 2


def soft_skeleton(member: Tensor, rounds: int) -> Tensor:
    """Soft skeleton of a membership (B, 1, [Z,] Y, X) in [0, 1]; same shape.

    The sum over the iterations of what an opening removes from the eroded membership.
    """
    skeleton = functional.relu(member - _open(member))
    for _ in range(rounds):
        member = _erode(member)
        ridge = functional.relu(member - _open(member))
        skeleton = skeleton + functional.relu(ridge - skeleton * ridge)
    return skeleton


def _open(member: Tensor) -> Tensor:
    pool = functional.max_pool2d if member.ndim == 4 else functional.max_pool3d
    return pool(_erode(member), 3, stride=1, padding=1)


def _erode(member: Tensor) -> Tensor:
    pool = functional.max_pool2d if member.ndim == 4 else functional.max_pool3d
    return -pool(-member, 3, stride=1, padding=1)
