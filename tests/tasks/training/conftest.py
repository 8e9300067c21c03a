from __future__ import annotations

import numpy as np
import pytest

from data.store import write_volume
from data.volume import Grid, Modality, Volume
from tasks.prediction.description import SourceScaling
from tasks.training.cases import ARRAYS, open_case

SHAPE = (12, 40, 44)


@pytest.fixture(scope="session")
def stored():
    """Write a digital pair: blobs of four tissues."""

    def write(folder, name, *, seed=0, shape=SHAPE, spacing_mm=(3.0, 2.0, 2.0), broken=False):
        rng = np.random.default_rng(seed)
        coarse = rng.integers(0, 4, [-(-n // 8) for n in shape])
        labels = coarse.repeat(8, 0).repeat(8, 1).repeat(8, 2)[: shape[0], : shape[1], : shape[2]]
        ct = np.array([-900, 0, 60, 1000])[labels] + rng.integers(-5, 6, shape)
        source = np.array([5.0, 150.0, 170.0, 300.0])[labels] + rng.normal(0, 3, shape)
        mask = np.zeros(shape, bool)
        mask[1:-1, 4:-4, 6:-3] = True
        if broken:
            source[~mask] = np.nan
        grid = Grid(shape, spacing_mm)
        arrays = {
            "source": (source.astype(np.float32), Modality.MR),
            "ct": (ct.astype(np.int16), Modality.CT),
            "mask": (mask, Modality.MASK),
        }
        for kind, (array, modality) in arrays.items():
            write_volume(folder / name / f"{kind}.zarr", Volume(array, grid, modality))
        return {kind: folder / name / f"{kind}.zarr" for kind in ARRAYS}

    return write


@pytest.fixture
def case(stored, tmp_path):
    """Open a digital pair as training does."""

    def make(name="a", *, kind="zscore_in_mask", **facts):
        files = stored(tmp_path / "pairs", name, **facts)
        return open_case(name, "thorax", files, SourceScaling(kind=kind))

    return make
