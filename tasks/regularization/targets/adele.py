"""ADELE: once a tissue class begins to be memorised, its contradicting targets are corrected."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import curve_fit
from torch import Tensor, nn
from torch.nn import functional

from synthct.tasks.models.contracts import Target
from synthct.tasks.regularization import REGULARIZERS
from synthct.tasks.regularization.base import Memory, Regularizer, Step, frozen_statistics

MIN_POINTS = 4
"""Points of a curve of three parameters that a fit needs."""

COUNTS, CURVE, FROZEN = "/counts", "/curve", "/frozen/"
"""Keys of the memory: overlap and union of this step and of the last points, the mean overlaps of
all points, and the weights at each class's onset."""


@REGULARIZERS.register("adele")
@dataclass(frozen=True)
class Adele(Regularizer):
    r"""Targets of a HU class are corrected from the onset of its memorising on, at several scales.

    Every voxel has a class, the interval of ``bounds_hu`` that its CT number is in. The fit of
    class *c* to the (partly wrong) training targets is the overlap of predicted and target voxels,
    :math:`o_c = |P_c \cap T_c| / |P_c \cup T_c|`, averaged over a part of the run at each of
    *t* = 1, 2, ... ``points``. Networks learn what most patients agree on first. Then the curve

    .. math:: f_c(t) = a\,(1 - e^{-b t^c})

    flattens, and what is still gained is memorised. The onset is the first *t* with
    :math:`f'(t) < (1 - r) \max_{s \le t} f'(s)`. (The paper compares with the slope at *t* = 1,
    which is the steepest unless a class is at first not predicted at all.) The weights
    :math:`\theta_c` at the onset are kept, and from then on a target of class *c* is replaced
    by the mean *q* over the scales of the predictions of :math:`\theta_c` where these
    contradict it: *q* and the prediction at every scale are in one and the same other class.
    (The paper replaces the labels of pixels whose confidence is high. Here agreement of the
    scales is the confidence, and CT numbers within the right class stay as they are: an
    adaptation.) The penalty asks predictions for consistency,

    .. math:: \frac{1}{S} \sum_s \left\langle (p_s - \bar p)^2 \right\rangle,

    with :math:`p_s` the prediction (B, 1, [Z,] Y, X) for the input resampled by factor *s*,
    resampled back, and :math:`\bar p` their mean; over the body [network units squared].

    A copy of the weights for each class is stored in the checkpoint. Each scale costs a pass, and
    each class past its onset a pass without gradient and one for each scale. Statistics of a class
    are those of whole batches.

    For synthetic CT: bones that are displaced between CT and source, and gas that has moved.
    Air, soft tissue and bone are not memorised at the same time.

    Acts at ``target`` (the correction, whatever the strength above 0) and ``penalty`` (consistency
    times the strength). The curves are updated after the optimizer, at ``project``.

    Parameters
    ----------
    bounds_hu
        Rising limits between the classes [HU].
    scales
        Resampling factors beside 1, each in (0, 2]; sizes are rounded so that the network's
        down-sampling still fits.
    flattened
        *r*, share of its steepest slope that the curve must have lost, in (0, 1).
    points
        Number of points of the curve over the run, at least 4.

    References
    ----------
    Liu, Liu, Zhu, Shen & Fernandez-Granda, Adaptive Early-Learning Correction for Segmentation
    from Noisy Annotations, CVPR 2022, arXiv:2110.03740.
    """

    bounds_hu: tuple[float, ...] = (-300.0, 200.0)
    scales: tuple[float, ...] = (0.5,)
    flattened: float = 0.9
    points: int = 50

    whole_batch: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not self.bounds_hu or list(self.bounds_hu) != sorted(set(self.bounds_hu)):
            raise ValueError(f"bounds_hu must rise, got {self.bounds_hu}")
        if not all(0 < scale <= 2 for scale in self.scales):
            raise ValueError(f"scales must be in (0, 2], got {self.scales}")
        if not 0 < self.flattened < 1:
            raise ValueError(f"flattened must be in (0, 1), got {self.flattened}")
        if self.points < MIN_POINTS:
            raise ValueError(f"points must be at least {MIN_POINTS}, got {self.points}")

    def target(self, target: Target, step: Step) -> Target:
        """Replace contradicting targets of the classes past their onset."""
        classes = self._classes(target.value, target)
        if COUNTS not in step.memory:  # evaluated again at other weights, the first one counts
            predicted = self._classes(step.prediction, target)
            step.memory[COUNTS] = self._overlaps(predicted, classes, target.weight > 0)
        corrected = target.value
        for number in range(len(self.bounds_hu) + 1):
            here = classes == number
            if not _has(step.memory, number) or not bool(here.any()):
                continue
            with torch.no_grad():
                scaled = self._over_scales(step, lambda x, n=number: _frozen(step, n, x))
            mean = scaled.mean(dim=0)
            found = self._classes(mean, target)
            agreed = (self._classes(scaled, target) == found).all(dim=0)
            corrected = torch.where(here & agreed & (found != number), mean, corrected)
        return replace(target, value=corrected)

    def penalty(self, step: Step) -> Tensor:
        """Mean squared distance from the mean over the scales, over the body; a scalar."""
        others = self._over_scales(step, step.forward, first=step.prediction)
        mask = step.batch.mask
        apart = (others - others.mean(dim=0)).square().mean(dim=0) * mask
        return apart.sum() / mask.sum().clamp(min=1)

    def project(self, step: Step) -> None:
        """Add the step to the curves; at each of their points, look for onsets."""
        memory = step.memory
        if COUNTS not in memory:
            return
        counts = memory.pop(COUNTS).cpu()
        memory[COUNTS + "/sum"] = memory.get(COUNTS + "/sum", torch.zeros_like(counts)) + counts
        period = max(1, step.total // self.points)
        if (step.number + 1) % period:
            return
        overlap, union = memory.pop(COUNTS + "/sum").unbind()
        point = torch.where(union > 0, overlap / union.clamp(min=1), torch.zeros_like(union))
        curve = torch.cat([memory[CURVE], point[None]]) if CURVE in memory else point[None]
        memory[CURVE] = curve
        for number in range(curve.shape[1]):
            if not _has(memory, number) and self.memorises(curve[:, number].numpy()):
                for name, weight in step.model.named_parameters():
                    memory[f"{FROZEN}{number}/{name}"] = weight.detach().clone()

    def memorises(self, fit: NDArray[np.float64]) -> bool:
        """Whether the curve through a class's overlaps at *t* = 1, 2, ... has flattened."""
        if len(fit) < MIN_POINTS or not fit.any():
            return False
        times = np.arange(1, len(fit) + 1, dtype=np.float64)
        try:
            (a, b, c), _ = curve_fit(
                _curve, times, fit, p0=(1.0, 1.0, 1.0), bounds=([0, 0, 0], [1, np.inf, np.inf])
            )
        except RuntimeError:  # no fit was found
            return False
        slopes = _slope(times, a, b, c)
        return bool(slopes[-1] < (1 - self.flattened) * slopes.max())

    def _classes(self, values: Tensor, target: Target) -> Tensor:
        """Class of each voxel."""
        low, high = target.scaling.low_hu, target.scaling.high_hu
        bounds = [2 * (hu - low) / (high - low) - 1 for hu in self.bounds_hu]
        limits = torch.tensor(bounds, device=values.device, dtype=values.dtype)
        return torch.bucketize(values.detach(), limits)

    def _overlaps(self, predicted: Tensor, wanted: Tensor, body: Tensor) -> Tensor:
        """Voxels in both and in either, by class; (2, classes)."""
        rows = []
        for number in range(len(self.bounds_hu) + 1):
            ours, theirs = (predicted == number) & body, (wanted == number) & body
            rows.append(torch.stack([(ours & theirs).sum(), (ours | theirs).sum()]))
        return torch.stack(rows, dim=1).double()

    def _over_scales(self, step: Step, run: object, first: Tensor | None = None) -> Tensor:
        """Predictions at scale 1 and at the others, on the grid of the batch; (S, B, 1, ...)."""
        assert callable(run)
        source, dtype = step.batch.source, step.batch.target.dtype
        found = [run(source).to(dtype) if first is None else first]
        for scale in self.scales:
            size = [_fitting(side, scale) for side in source.shape[2:]]
            if size == list(source.shape[2:]):
                found.append(found[0])
                continue
            there = run(_resampled(source, size)).to(dtype)
            found.append(_resampled(there, source.shape[2:]))
        return torch.stack(found)


def _curve(t: NDArray[np.float64], a: float, b: float, c: float) -> NDArray[np.float64]:
    """The curve at each *t*."""
    return np.asarray(a * (1 - np.exp(-b * t**c)))


def _slope(t: NDArray[np.float64], a: float, b: float, c: float) -> NDArray[np.float64]:
    """Derivative of the curve at each *t*."""
    return np.asarray(a * b * c * t ** (c - 1) * np.exp(-b * t**c))


def _fitting(side: int, scale: float) -> int:
    """The scaled side, rounded to the power of two up to 32 that divides the side."""
    multiple = int(np.gcd(side, 32))
    return max(1, round(side * scale / multiple)) * multiple


def _resampled(x: Tensor, size: Sequence[int]) -> Tensor:
    """Linear resampling of (B, C, [Z,] Y, X) to another size."""
    mode = "bilinear" if len(size) == 2 else "trilinear"
    return functional.interpolate(x, size=list(size), mode=mode, align_corners=False)


def _has(memory: Memory, number: int) -> bool:
    """Whether weights of the class's onset are kept."""
    return any(key.startswith(f"{FROZEN}{number}/") for key in memory)


def _frozen(step: Step, number: int, source: Tensor) -> Tensor:
    """Prediction of the weights at the onset of a class."""
    model: nn.Module = step.model
    weights = {
        name: step.memory[f"{FROZEN}{number}/{name}"].to(weight)
        for name, weight in model.named_parameters()
    }
    with frozen_statistics(model):
        predicted: Tensor = torch.func.functional_call(model, weights, (source,))
    return predicted
