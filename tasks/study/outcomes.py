"""Outcomes besides image metrics that methods claim to improve, for every network of a study."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from synthct.data.phantom.canvas import smooth_noise
from synthct.data.volume import Volume
from synthct.tasks.evaluation.structures.overlap import surface_dice, surface_distances_mm
from synthct.tasks.models.description import ModelDescription
from synthct.tasks.models.sliding import Prediction, Runner, predict
from synthct.tasks.pipeline.randomness import generator
from synthct.tasks.study.params import Outcome
from synthct.tasks.training.runner import load_network

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

SLICES_APART = 4
"""Distance of the slices that are predicted again, so that outcomes cost less than training."""

NOISE = 0.02
"""Noise that is added to the source, as a share of its range in the body."""

SHADING, SHADING_MM, SCANNER_NOISE = 0.5, 150.0, 0.12
"""Simulated other scanner: spread of the logarithm of a surface coil's sensitivity and its
smoothness, and noise as a share of the mean signal of the body, as at low field strength."""

NOMINAL, NORMAL_90 = 0.9, 1.6448536269514722
"""Interval whose coverage is tested, and its half-width in standard deviations."""

BONE_HU = 200.0
WRONG_HU = 200.0
"""A training target is wrong where it differs from the truth by more [HU]."""


@dataclass(frozen=True, eq=False)
class PredictedCase:
    """One case and the network's prediction, on every ``SLICES_APART``-th slice.

    Parameters
    ----------
    model
        Folder of the trained network.
    hu, reference
        Prediction and reference of all slices [HU].
    inside
        The voxels in which outcomes are measured.
    seed
        Seed of the noise that is added.
    """

    case: str
    model: Path
    description: ModelDescription
    run: Runner
    source: Volume
    mask: Volume
    hu: Floats
    reference: Floats
    inside: Mask
    seed: int

    def again(self, *, run: Runner | None = None, source: Volume | None = None) -> Floats:
        """The prediction of another source, or by another network [HU]."""
        return self._predict(run or self.run, source or self.source).hu.astype(np.float64)

    def spread(self) -> Prediction:
        """Mean and standard deviation over the flips of training [HU]."""
        return self._predict(self.run, self.source, flips=True)

    def mae(self, hu: Floats) -> float:
        """Mean absolute error against the reference [HU]."""
        return float(np.abs(hu - self.reference)[self.inside].mean())

    def random(self, purpose: str) -> np.random.Generator:
        """Generator that is the same for all networks, so that all get the same noise."""
        return generator(self.seed, "study", purpose, self.case)

    def _predict(self, run: Runner, source: Volume, *, flips: bool = False) -> Prediction:
        wanted = self.mask.with_array(self.inside.astype(np.uint8))
        return predict(
            run, source, self.mask, self.description, tta=flips, uncertainty=flips, wanted=wanted
        )


def thinned(mask: Mask) -> Mask:
    """Every ``SLICES_APART``-th slice (Z) that contains body."""
    slices = np.flatnonzero(mask.any(axis=(1, 2)))
    kept = np.zeros(mask.shape[0], bool)
    kept[slices[SLICES_APART // 2 :: SLICES_APART] if slices.size > SLICES_APART else slices] = True
    return np.asarray(mask & kept[:, None, None])


def bias_hu(seen: PredictedCase) -> float | None:
    r"""Distance of the mean error from 0, :math:`|\overline{p - g}|` [HU]."""
    body = np.asarray(seen.mask.array) > 0
    return abs(float((seen.hu - seen.reference)[body].mean()))


def bone_missed(seen: PredictedCase) -> float | None:
    """1 minus the surface Dice of bone (above ``BONE_HU``) within one voxel; None without bone."""
    body = np.asarray(seen.mask.array) > 0
    truth, found = ((image > BONE_HU) & body for image in (seen.reference, seen.hu))
    if not truth.any():
        return None
    if not found.any():
        return 1.0
    spacing = seen.source.grid.spacing_mm
    return 1 - surface_dice(surface_distances_mm(truth, found, spacing), max(spacing))


def noise_gain_hu(seen: PredictedCase) -> float | None:
    r"""Root mean square of :math:`f(x + n) - f(x)` [HU], *n* of ``NOISE`` of the source's range."""
    body = np.asarray(seen.mask.array) > 0
    low, high = np.percentile(seen.source.array[body], [0.5, 99.5])
    noise = seen.random("noise").standard_normal(seen.source.array.shape)
    noisy = seen.source.array + NOISE * float(high - low) * noise
    moved = seen.again(source=seen.source.with_array(noisy.astype(np.float32)))
    return float(np.sqrt(np.square(moved - seen.hu)[seen.inside].mean()))


def int8_hu(seen: PredictedCase) -> float | None:
    """Increase of the mean absolute error by 8-bit convolutions [HU]; see :func:`eight_bits`."""
    network = eight_bits(load_network(seen.model))

    def run(source: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.inference_mode():
            out: NDArray[np.float32] = network(torch.from_numpy(source)).float().numpy()
        return out

    return seen.mae(seen.again(run=run)) - seen.mae(seen.hu)


def shifted_hu(seen: PredictedCase) -> float | None:
    """Increase of the mean absolute error for the same patient on another scanner [HU].

    The source, from its least value up, is multiplied by a smooth field, and noise is added.
    """
    body = np.asarray(seen.mask.array) > 0
    array = seen.source.array.astype(np.float64)
    least = array.min()
    random = seen.random("scanner")
    field = np.exp(SHADING * smooth_noise(random, seen.source.grid, SHADING_MM))
    sd = SCANNER_NOISE * (array - least)[body].mean()
    shaded = least + (array - least) * field + sd * random.standard_normal(array.shape)
    moved = seen.again(source=seen.source.with_array(shaded.astype(np.float32)))
    return seen.mae(moved) - seen.mae(seen.hu)


def coverage_gap(seen: PredictedCase) -> float | None:
    """Distance of the coverage of 90 % intervals by the spread over flips from 90 % [%].

    None for a network that was trained without flips.
    """
    if not seen.description.flips:
        return None
    voted = seen.spread()
    assert voted.sd_hu is not None
    error = np.abs(voted.hu - seen.reference)[seen.inside]
    share = float((error <= NORMAL_90 * voted.sd_hu[seen.inside]).mean())
    return 100 * abs(share - NOMINAL)


MEASURES: Mapping[Outcome, Callable[[PredictedCase], float | None]] = {
    "bias_hu": bias_hu,
    "bone_missed": bone_missed,
    "noise_gain_hu": noise_gain_hu,
    "int8_hu": int8_hu,
    "shifted_hu": shifted_hu,
    "coverage_gap": coverage_gap,
}
"""Measured on test cases; ``wrong_hu`` is measured on a training case."""


def measured(seen: PredictedCase, outcomes: Sequence[Outcome]) -> dict[str, float | None]:
    """The outcomes of a test case by name."""
    return {name: MEASURES[name](seen) for name in outcomes if name in MEASURES}


def wrong_hu(hu: Floats, given: Floats, truth: Floats, inside: Mask) -> float | None:
    """Mean absolute error against the truth where the target of training was wrong [HU].

    Large for a network that memorised wrong targets. None where no target was wrong.
    """
    wrong = inside & (np.abs(given - truth) > WRONG_HU)
    return float(np.abs(hu - truth)[wrong].mean()) if wrong.any() else None


def eight_bits(network: nn.Module) -> nn.Module:
    """The network with the convolutions of the 8-bit export simulated, except the first and last.

    Weights are rounded to 255 levels of each output channel, inputs to 256 levels between their
    least and largest value in the batch.
    """
    layers = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.Conv3d)]
    for layer in layers[1:-1]:
        weight = layer.weight.detach()
        axes = tuple(range(1, weight.ndim))
        step = weight.abs().amax(dim=axes, keepdim=True).clamp_min(1e-12) / 127
        layer.weight = nn.Parameter((weight / step).round() * step, requires_grad=False)
        layer.register_forward_pre_hook(_rounded)
    return network


def _rounded(_layer: nn.Module, inputs: tuple[Any, ...]) -> tuple[Tensor, ...]:
    x: Tensor = inputs[0]
    low, high = x.min().clamp(max=0), x.max().clamp(min=0)
    step = ((high - low) / 255).clamp_min(1e-12)
    return (((x - low) / step).round() * step + low, *inputs[1:])
