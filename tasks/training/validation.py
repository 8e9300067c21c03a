"""Mean absolute error [HU] on held-back slices, with the sliding windows of prediction."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from synthct.tasks.models.description import ModelDescription
from synthct.tasks.models.normalise import scale_target, unscale_target
from synthct.tasks.models.windows import Windows, plan_windows
from synthct.tasks.training.cases import Case
from synthct.tasks.training.chunks import ChunkCache

Run = Callable[[nn.Module, Tensor], Tensor]
"""Evaluates a model on its device, at the run's precision."""

Plane = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]
"""One slice (Y, X): source in network units, CT [HU], mask."""

OVERLAP = 0.5
"""Overlap of neighbouring windows, that of prediction: the statistics of an instance norm depend on
the window, so whole planes would give another error than the released network."""

WINDOWS_AT_ONCE = 8


@dataclass(frozen=True, eq=False)
class Validation:
    """Held-back slices of some cases.

    Parameters
    ----------
    cases
        Cases; slices without voxels in ``body`` are skipped.
    cache
        Cache through which voxels are read.
    description
        Windows and scaling of the network.
    most
        Number of slices of each case, evenly spaced over those with body; None: all.
    """

    cases: Sequence[Case]
    cache: ChunkCache
    description: ModelDescription
    most: int | None = None

    def mae_hu(self, model: nn.Module, run: Run) -> float:
        """Mean over the cases of ``sum |prediction - CT| mask / sum mask`` [HU], CT not clipped.

        The model's mode is restored afterwards.
        """
        training = model.training
        model.eval()
        try:
            with torch.no_grad():
                return float(np.mean([self._case(case, model, run) for case in self.cases]))
        finally:
            model.train(training)

    def _case(self, case: Case, model: nn.Module, run: Run) -> float:
        planes, predicted = self._planes_and_answer(case, model, run)
        voxels = sum(int(np.count_nonzero(mask)) for _, _, mask in planes.values())
        total = 0.0
        for z, (_, ct, mask) in planes.items():
            hu = unscale_target(predicted[z], self.description.target_scaling)
            total += float(np.abs(hu - ct)[mask].sum(dtype=np.float64))
        return total / max(1, voxels)

    def answers(self, model: nn.Module, run: Run) -> Iterator[tuple[NDArray[np.float32], ...]]:
        """(source, answer, CT) of each case's validated voxels, (n,) each, in network units."""
        model.eval()
        with torch.no_grad():
            for case in self.cases:
                planes, predicted = self._planes_and_answer(case, model, run)
                yield tuple(
                    np.concatenate(parts)
                    for parts in zip(
                        *(
                            (
                                source[mask],
                                predicted[z][mask],
                                scale_target(ct[mask], self.description.target_scaling),
                            )
                            for z, (source, ct, mask) in planes.items()
                        ),
                        strict=True,
                    )
                )

    def _planes_and_answer(
        self, case: Case, model: nn.Module, run: Run
    ) -> tuple[dict[int, Plane], NDArray[np.float32]]:
        slices = _spread(np.flatnonzero(case.body.any(axis=1)), self.most)
        planes = {int(z): self._plane(case, int(z)) for z in slices}
        wanted = np.zeros(case.shape, bool)
        for z, (_, _, mask) in planes.items():
            wanted[z] = mask
        return planes, self._predicted(case, wanted, model, run)

    def _plane(self, case: Case, z: int) -> Plane:
        source, ct, mask = case.read(self.cache, (z, 0, 0), (1, *case.shape[1:]))
        return source[0], ct[0].astype(np.float32), mask[0]

    def _predicted(
        self, case: Case, wanted: NDArray[np.bool_], model: nn.Module, run: Run
    ) -> NDArray[np.float32]:
        """Blended output in network units, where any voxel is wanted."""
        windows = plan_windows(case.shape, self.description, OVERLAP)
        mean, total = np.zeros((2, *case.shape), np.float32)
        needed = windows.needed(wanted)
        shape = tuple(axis.size for axis in windows.axes)
        for first in range(0, len(needed), WINDOWS_AT_ONCE):
            these = needed[first : first + WINDOWS_AT_ONCE]
            inputs = np.stack([self._input(case, windows, window) for window in these])
            outputs = run(model, torch.from_numpy(inputs)).float().cpu().numpy()
            for window, output in zip(these, outputs.reshape(len(these), *shape), strict=True):
                place, part = windows.place(window)
                mean[place] += windows.weight[part] * output[part]
                total[place] += windows.weight[part]
        return np.divide(mean, total, out=mean, where=total > 0)

    def _input(
        self, case: Case, windows: Windows, window: tuple[int, int, int]
    ) -> NDArray[np.float32]:
        z, y, x = (axis.starts[at] for axis, at in zip(windows.axes, window, strict=True))
        deep, high, wide = (axis.size for axis in windows.axes)
        if windows.flat:
            z, deep = z - windows.slices // 2, windows.slices
        source, _, _ = case.read(self.cache, (z, y, x), (deep, high, wide))
        return source if windows.flat else source[None]


def _spread(slices: NDArray[np.int64], most: int | None) -> NDArray[np.int64]:
    if most is None or most >= slices.size:
        return slices
    at = np.linspace(0, slices.size - 1, most + 2)[1:-1]
    return np.asarray(slices[np.unique(np.rint(at).astype(int))])
