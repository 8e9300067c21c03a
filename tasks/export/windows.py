"""Windows of a registered case, on which parity, 8-bit cost and calibration are measured."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from synthct.data.store.volumes import read_volume
from synthct.data.volume import Volume
from synthct.tasks.models.description import ModelDescription
from synthct.tasks.models.normalise import fit_source
from synthct.tasks.models.windows import plan_windows


@dataclass(frozen=True, eq=False)
class CaseWindows:
    """Windows spread evenly over a case's body.

    Parameters
    ----------
    inputs
        Network input (B, C, Y, X) or (B, 1, Z, Y, X).
    inside
        Body mask of the network output, (B, Y, X) or (B, Z, Y, X).
    ct_hu
        The registered CT of the same voxels [HU].
    """

    inputs: NDArray[np.float32]
    inside: NDArray[np.bool_]
    ct_hu: NDArray[np.float32]


def case_windows(case: Path, model: ModelDescription, count: int) -> CaseWindows:
    """Up to ``count`` windows that contain body, from a case folder of the registration stage."""
    source, mask, ct = (read_volume(case / f"{name}.zarr") for name in ("source", "mask", "ct"))
    windows = plan_windows(source.grid.shape, model, overlap=0.5)
    needed = windows.needed(np.asarray(mask.array) > 0)
    chosen = [needed[number] for number in _spread(len(needed), count)]
    scale = fit_source(source.array, mask.array, model.source_scaling)
    middle = model.slices // 2 if windows.flat else 0

    def read(volume: Volume) -> NDArray[np.float32]:
        return np.stack([windows.read(volume.array, window) for window in chosen])

    return CaseWindows(
        inputs=scale(read(source)),
        inside=read(mask)[:, middle] > 0,
        ct_hu=read(ct)[:, middle].astype(np.float32),
    )


def _spread(available: int, count: int) -> NDArray[np.int64]:
    return np.unique(np.linspace(0, available - 1, count).round().astype(int))
