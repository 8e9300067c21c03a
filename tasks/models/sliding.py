"""Sliding-window prediction of a whole scan, with flips and ensembles, slab by slab."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synthct.data.errors import DataError, UsageError
from synthct.data.volume import Volume
from synthct.tasks.models.description import ModelDescription
from synthct.tasks.models.normalise import fit_source, unscale_target
from synthct.tasks.models.scalings import Transform
from synthct.tasks.models.windows import Windows, plan_windows

Runner = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""A network: (B, C, Y, X) -> (B, 1, Y, X) for 2.5-D, (B, 1, Z, Y, X) -> the same for 3-D."""

Progress = Callable[[int, int], None]
"""Called with (windows done, number of windows)."""

_AXES = {"y": (-2,), "x": (-1,)}


def flips_of(model: ModelDescription, *, tta: bool) -> tuple[tuple[int, ...], ...]:
    """Axes to flip for each evaluation: none, then each axis that was flipped in training.

    The prediction of a network for an orientation that was not in its training is meaningless.
    """
    return ((), *(_AXES[axis] for axis in model.flips)) if tta else ((),)


@dataclass(frozen=True, eq=False)
class Prediction:
    """A synthetic CT on the grid of its source.

    Parameters
    ----------
    hu
        int16 (Z, Y, X), ``outside_hu`` outside the body mask.
    sd_hu
        Standard deviation over networks and flips [HU], float32, 0 outside the mask; None if it
        was not requested. It is not a calibrated error.
    """

    hu: NDArray[np.int16]
    sd_hu: NDArray[np.float32] | None = None


def predict(
    run: Runner | Sequence[Runner],
    source: Volume,
    mask: Volume,
    model: ModelDescription,
    *,
    tta: bool = False,
    overlap: float = 0.5,
    batch: int = 8,
    uncertainty: bool = False,
    wanted: Volume | None = None,
    progress: Progress | None = None,
) -> Prediction:
    """Mean of all networks and flips over a scan.

    Windows are blended with Gaussian weights, as in MONAI; windows without body are skipped. Only
    the slices that later windows overlap are held as float, so that the memory in addition to
    scan and result does not grow with the number of slices.

    Parameters
    ----------
    run
        One network or several (an ensemble: their mean).
    source, mask
        The scan and its body mask, on the same grid, at the spacing of the model.
    tta
        Also flip the axes that were flipped in training (up to three evaluations per network).
    overlap
        Smallest overlap of neighbouring windows, as a fraction of the window, in [0, 1).
    batch
        Windows per evaluation of the network; limits the memory.
    uncertainty
        Also return the standard deviation over networks and flips.
    wanted
        Voxels to predict; default: the mask. Intensities are scaled by the mask only, so that
        additional voxels do not change the others.
    """
    _check(source, mask, overlap, batch)
    voters = _Ensemble(
        tuple(run) if isinstance(run, Sequence) else (run,), flips_of(model, tta=tta)
    )
    scale = fit_source(source.array, np.asarray(mask.array) > 0, model.source_scaling)
    inside = np.asarray((mask if wanted is None else wanted).array) > 0
    windows = plan_windows(source.grid.shape, model, overlap)
    hu = np.full(source.grid.shape, model.outside_hu, np.int16)
    sd_hu = np.zeros(source.grid.shape, np.float32) if uncertainty else None
    votes = _window_predictions(voters, windows, source.array, inside, scale, batch, progress)
    for z, mean, variance in _finished(votes, windows):
        hu[z][inside[z]] = _as_hu(mean, model)[inside[z]]
        if sd_hu is not None:
            half = (model.target_scaling.high_hu - model.target_scaling.low_hu) / 2
            sd_hu[z][inside[z]] = np.sqrt(variance[inside[z]]) * half
    return Prediction(hu, sd_hu)


@dataclass(frozen=True)
class _Ensemble:
    networks: tuple[Runner, ...]
    flips: tuple[tuple[int, ...], ...]

    def __call__(
        self, inputs: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Mean and variance over networks and flips, both (B, [Z,] Y, X), by Welford's update."""
        mean, spread = np.zeros((2, inputs.shape[0], *inputs.shape[2:]), np.float32)
        for count, (network, flip) in enumerate(self._pairs(), start=1):
            turned = np.ascontiguousarray(np.flip(inputs, flip))
            vote = np.flip(network(turned)[:, 0], flip)
            step = vote - mean
            mean += step / np.float32(count)
            spread += step * (vote - mean)
        if not np.isfinite(mean).all():
            raise DataError(
                "the prediction of the network has NaN or infinite values",
                remedy="check that its training converged and that the scan is of the kind that it "
                "was trained on",
                code="prediction-not-finite",
            )
        spread /= np.float32(len(self.networks) * len(self.flips))
        return mean, spread

    def _pairs(self) -> Iterator[tuple[Runner, tuple[int, ...]]]:
        return ((network, flip) for network in self.networks for flip in self.flips)


_WindowPrediction = tuple[tuple[int, int, int], NDArray[np.float32], NDArray[np.float32]]


def _window_predictions(
    voters: _Ensemble,
    windows: Windows,
    array: NDArray[Any],
    inside: NDArray[np.bool_],
    scale: Transform,
    batch: int,
    progress: Progress | None,
) -> Iterator[_WindowPrediction]:
    """(window, mean, variance) of each needed window, in ascending z."""
    needed = windows.needed(inside)
    for first in range(0, len(needed), batch):
        these = needed[first : first + batch]
        inputs = scale(np.stack([windows.read(array, window) for window in these]))
        means, variances = voters(inputs)
        shape = (len(these), *(axis.size for axis in windows.axes))
        yield from zip(these, means.reshape(shape), variances.reshape(shape), strict=True)
        if progress is not None:
            progress(first + len(these), len(needed))


def _finished(
    votes: Iterator[_WindowPrediction], windows: Windows
) -> Iterator[tuple[int, NDArray[np.float32], NDArray[np.float32]]]:
    """(z, mean, variance) of each slice as soon as no later window overlaps it."""
    _, y_axis, x_axis = windows.axes
    open_slices: dict[int, NDArray[np.float32]] = {}
    for window, mean, variance in votes:
        place, part = windows.place(window)
        for z in [z for z in open_slices if z < place[0].start]:
            yield z, *_divided(open_slices.pop(z))
        weight = windows.weight[part]
        for row, z in enumerate(range(place[0].start, place[0].stop)):
            if z not in open_slices:
                open_slices[z] = np.zeros((3, y_axis.length, x_axis.length), np.float32)
            for plane, values in enumerate((mean, variance)):
                open_slices[z][plane][place[1:]] += weight[row] * values[part][row]
            open_slices[z][2][place[1:]] += weight[row]
    for z in sorted(open_slices):
        yield z, *_divided(open_slices[z])


def _divided(sums: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Weighted means; 0 where no window was predicted because there is no body."""
    mean, variance, total = sums
    total[total == 0] = 1
    return mean / total, variance / total


def _as_hu(mean: NDArray[np.float32], model: ModelDescription) -> NDArray[np.int16]:
    """Rounded HU, clipped to the range of the targets in training."""
    scaling = model.target_scaling
    hu = np.clip(unscale_target(mean, scaling), scaling.low_hu, scaling.high_hu)
    return np.rint(hu).astype(np.int16)


def _check(source: Volume, mask: Volume, overlap: float, batch: int) -> None:
    if not mask.grid.is_close(source.grid):
        raise DataError(
            f"the body mask ({mask.grid.shape}) and the scan ({source.grid.shape}) have "
            "different grids",
            rule="a body mask has the grid of its scan",
            remedy="resample the mask (nearest) to the scan",
            code="mask-elsewhere",
        )
    if not 0 <= overlap < 1 or batch < 1:
        raise UsageError(
            f"overlap is {overlap}, batch is {batch}",
            rule="overlap must be in [0, 1) and batch at least 1",
            remedy="correct the option",
            code="sliding",
        )
