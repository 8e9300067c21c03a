"""Two windows of one location in a scan, each altered like an image of another scanner."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from synthct.data.volume import Modality
from synthct.tasks.pipeline.randomness import derive_seed, generator
from synthct.tasks.pretraining.base import Views
from synthct.tasks.pretraining.params import ViewParams
from synthct.tasks.pretraining.scans import Scan
from synthct.tasks.training.patches import PatchShape

Array = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class ViewSampler:
    """Batches of views; batch *k* is a function of (seed, k) alone.

    The scans of a batch are of all modalities in turn, and uniform within one. A window is drawn
    around a voxel of the body, which both views show.

    Parameters
    ----------
    scans
        Scans, of mean 0 and standard deviation 1 in the body.
    shape
        Size of a view.
    params
        How views differ.
    size, voxels
        Windows in a batch, and voxels of each that are embedded.
    seed
        Seed.
    mean, sd
        From the scans' units to those of the network, ``mean + sd x`` [network units].
    """

    scans: Sequence[Scan]
    shape: PatchShape
    params: ViewParams
    size: int
    voxels: int
    seed: int
    mean: float = 0.0
    sd: float = 1.0

    def batch(self, number: int) -> Views:
        """Batch ``number`` on the CPU."""
        rng = generator(self.seed, "views", str(number))
        kinds = sorted({scan.modality for scan in self.scans})
        turn = int(rng.integers(len(kinds)))
        drawn = [self._sample(kinds[(turn + k) % len(kinds)], rng) for k in range(self.size)]
        first, second, places, partners, hidden, inside = (
            torch.from_numpy(np.stack(parts)) for parts in zip(*drawn, strict=True)
        )
        chance = torch.Generator().manual_seed(derive_seed(self.seed, "objective", str(number)))
        return Views(first, second, places, partners, hidden, inside, chance)

    def _sample(self, modality: Modality, rng: np.random.Generator) -> tuple[NDArray[Any], ...]:
        among = [scan for scan in self.scans if scan.modality is modality]
        scan = among[int(rng.integers(len(among)))]
        middle = scan.places[int(rng.integers(len(scan.places)))]
        reach = [self.params.shift_voxels] * 3
        if self.shape.flat:
            reach[0] = 0  # the middle slice of both stacks is the same
        offsets = [[int(rng.integers(-(r // 2), r - r // 2 + 1)) for r in reach] for _ in range(2)]
        views = [
            changed(_box(scan.array, middle, offset, self.shape.box), scan, self.params, rng)
            for offset in offsets
        ]
        body = _box(scan.body, middle, offsets[0], self.shape.box, outside=0)
        apart = np.subtract(offsets[0], offsets[1])
        first, second = (self._windows(view) for view in views)
        flat = self.shape.sample(body, body, body)[1][0] > 0
        return first, second, *self._places(flat, apart[-flat.ndim :], rng)

    def _windows(self, view: Array) -> Array:
        scaled = np.asarray(self.mean + self.sd * view, np.float32)
        return scaled if self.shape.flat else scaled[None]

    def _places(
        self, body: NDArray[np.bool_], apart: NDArray[np.int64], rng: np.random.Generator
    ) -> tuple[NDArray[Any], ...]:
        """Voxels common to both windows, the hidden blocks, and body voxels inside them."""
        size = np.array(body.shape)
        seen = np.argwhere(body)
        seen = seen[((seen + apart >= 0) & (seen + apart < size)).all(axis=1)]
        places = seen[rng.integers(len(seen), size=self.voxels)]
        hidden = blocks(body.shape, self.params.mask_voxels, self.params.masked, rng)
        within = np.argwhere(body & (hidden > 0))
        if not len(within):  # no block lies on the body: hide the one in the middle of it
            middle = seen[len(seen) // 2] // self.params.mask_voxels * self.params.mask_voxels
            box = tuple(slice(a, a + self.params.mask_voxels) for a in middle)
            hidden[box] = 1
            within = np.argwhere(body & (hidden > 0))
        inside = within[rng.integers(len(within), size=self.voxels)]
        return places, places + apart, hidden[None], inside


def changed(window: Array, scan: Scan, params: ViewParams, rng: np.random.Generator) -> Array:
    """The window (Z, Y, X) altered like an image of another scanner or sequence [SD of the body].

    Contrast, then shading, smoothing and noise, in the order in which a scanner adds them.
    """
    knots, modality = np.asarray(scan.knots), scan.modality
    low = knots[0]
    beyond = np.minimum(window - low, 0) + np.maximum(window - knots[-1], 0)
    out = np.interp(window, knots, curve(knots, params, rng)) + beyond
    if params.shading and modality is not Modality.CT:
        field = params.shading * wave(window.shape, rng)
        # Coil shading multiplies the signal, which is 0 in air; scatter adds to all voxels.
        out = low + (out - low) * np.exp(field) if modality is Modality.MR else out + field
    if params.blur_voxels:
        out = gaussian_filter(out, params.blur_voxels * rng.random(), mode="nearest")
    if params.noise:
        noise = params.noise * rng.random() * rng.standard_normal((2, *window.shape))
        if modality is Modality.MR:  # magnitude of a complex signal
            out = low + np.hypot(out - low + noise[0], noise[1])
        else:
            out = out + noise[0]
    return np.asarray(out, np.float32)


def curve(
    knots: NDArray[np.float64], params: ViewParams, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Values at rising knots, starting with air: rising, or with tissues in another order.

    Air keeps its value and stays darkest; the brightest value of a rising curve is kept too.
    """
    steps = np.diff(knots)
    grown = steps * np.exp(params.contrast * rng.standard_normal(steps.size))
    values = knots[0] + np.concatenate([[0.0], np.cumsum(grown * steps.sum() / grown.sum())])
    if rng.random() < params.other_contrast:
        values[1:] = knots[0] + (knots[-1] - knots[0]) * rng.random(steps.size)
    return np.asarray(values)


def wave(shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.float64]:
    """A wave of random size up to 1, direction and phase, one to three windows long."""
    direction = rng.standard_normal(len(shape))
    direction /= np.linalg.norm(direction)
    length = max(shape) * (1 + 2 * rng.random())
    axes = np.meshgrid(*(np.arange(n) for n in shape), indexing="ij", sparse=True)
    along = sum(d * axis for d, axis in zip(direction, axes, strict=True))
    phase = 2 * np.pi * rng.random()
    return np.asarray(rng.random() * np.cos(2 * np.pi * along / length + phase))


def blocks(
    shape: tuple[int, ...], side: int, fraction: float, rng: np.random.Generator
) -> NDArray[np.float32]:
    """1 in a random ``fraction`` of the blocks of that side, at least one and not all, else 0."""
    counts = [-(-n // side) for n in shape]
    total = int(np.prod(counts))
    hidden = np.zeros(total, np.float32)
    hidden[rng.permutation(total)[: min(max(1, round(fraction * total)), max(1, total - 1))]] = 1
    out = hidden.reshape(counts)
    for axis in range(len(shape)):
        out = out.repeat(side, axis)
    return np.ascontiguousarray(out[tuple(slice(0, n) for n in shape)])


def _box(
    array: NDArray[Any],
    middle: NDArray[np.int64],
    offset: Sequence[int],
    size: tuple[int, int, int],
    outside: float | None = None,
) -> NDArray[Any]:
    """The box of that size around ``middle + offset``; outside, edge values or ``outside``."""
    start = [int(m) + o - n // 2 for m, o, n in zip(middle, offset, size, strict=True)]
    axes = [np.arange(a, a + n) for a, n in zip(start, size, strict=True)]
    near = [np.clip(axis, 0, n - 1) for axis, n in zip(axes, array.shape, strict=True)]
    box: NDArray[Any] = np.asarray(array[near[0][0] : near[0][-1] + 1])[
        np.ix_(near[0] - near[0][0], near[1], near[2])
    ]
    if outside is not None:
        beyond = [axis != clipped for axis, clipped in zip(axes, near, strict=True)]
        box = np.where(beyond[0][:, None, None] | beyond[1][:, None] | beyond[2], outside, box)
    return box
