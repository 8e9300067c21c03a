"""Mean absolute error on held-back slices, in HU, as evaluation defines it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tasks.prediction.description import TargetScaling
from tasks.prediction.normalise import unscale_target
from tasks.training.cases import Case
from tasks.training.chunks import ChunkCache
from tasks.training.patches import PatchShape


@dataclass(frozen=True, eq=False)
class Validation:
    """Held-back slices, run through the network as whole planes.

    Parameters
    ----------
    cases
        Their ``body`` counts the voxels that are looked at: rows of zeros are left out.
    most
        Slices of each case, evenly spread over those with body; None: all of them.
    divisor
        Planes are padded to multiples of this, by repeating edge voxels.
    """

    cases: Sequence[Case]
    cache: ChunkCache
    shape: PatchShape
    scaling: TargetScaling
    divisor: int
    most: int | None = None

    def mae_hu(self, model: nn.Module, run: Callable[[nn.Module, Tensor], Tensor]) -> float:
        """Mean over the cases of ``sum |prediction - CT| mask / sum mask`` [HU], CT not clipped.

        ``run`` evaluates the model (on its device, at its precision). The model's mode is as
        before afterwards.
        """
        training = model.training
        model.eval()
        try:
            with torch.no_grad():
                return float(np.mean([self._case(case, model, run) for case in self.cases]))
        finally:
            model.train(training)

    def _case(
        self, case: Case, model: nn.Module, run: Callable[[nn.Module, Tensor], Tensor]
    ) -> float:
        total, voxels = 0.0, 0
        for start, size in self._boxes(case):
            source, ct, mask = self.shape.sample(*case.read(self.cache, start, size))
            inputs = torch.from_numpy(np.ascontiguousarray(source))[None]
            predicted = run(model, inputs)[0].float().cpu().numpy()
            error = np.abs(unscale_target(predicted, self.scaling) - ct.astype(np.float32))
            total += float(error[mask].sum(dtype=np.float64))
            voxels += int(mask.sum())
        return total / max(1, voxels)

    def _boxes(self, case: Case) -> list[tuple[tuple[int, int, int], tuple[int, int, int]]]:
        y, x = (-(-length // self.divisor) * self.divisor for length in case.shape[1:])
        slices = _spread(np.flatnonzero(case.body.any(axis=1)), self.most)
        deep = self.shape.box[0]
        return [((int(z) - deep // 2, 0, 0), (deep, y, x)) for z in slices]


def _spread(slices: NDArray[np.int64], most: int | None) -> NDArray[np.int64]:
    if most is None or most >= slices.size:
        return slices
    at = np.linspace(0, slices.size - 1, most + 2)[1:-1]
    return np.asarray(slices[np.unique(np.rint(at).astype(int))])
