"""Small volumes with awkward geometry, and damage."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from synthct.data.volume import Grid, Modality, Volume
from synthct.data.writers.dicom import write_series


def rotation(degrees: float) -> tuple[tuple[float, float, float], ...]:
    """About the y axis, in (z, y, x) order."""
    c, s = float(np.cos(np.radians(degrees))), float(np.sin(np.radians(degrees)))
    return ((c, 0.0, s), (0.0, 1.0, 0.0), (-s, 0.0, c))


@pytest.fixture
def unpaused(monkeypatch) -> None:
    """Fail a test in which a request to an object store is repeated after a pause."""
    from synthct.data.store import outage, remote_zarr

    def sleep(seconds: float) -> None:
        raise AssertionError(f"waited {seconds:g} s to ask again")

    clock = SimpleNamespace(monotonic=time.monotonic, sleep=sleep)
    monkeypatch.setattr(outage, "time", clock)
    monkeypatch.setattr(remote_zarr, "asyncio", SimpleNamespace(sleep=sleep))


@pytest.fixture(scope="session")
def oblique() -> Volume:
    """A CT of noise, 12 x 20 x 26 voxels, turned by 20 degrees, unequal spacings."""
    values = np.random.default_rng(1).integers(-1024, 3072, (12, 20, 26)).astype(np.int16)
    grid = Grid((12, 20, 26), (2.5, 0.9, 0.7), (-100.1234567, 20.25, -55.5), rotation(20))
    return Volume(values, grid, Modality.CT)


@pytest.fixture(scope="session")
def write_ct() -> Callable[..., list[Path]]:
    """``write_ct(folder, volume, **attributes)``: a DICOM series of one patient."""

    def write(folder: Path, volume: Volume, *, series: str = "s", **attributes) -> list[Path]:
        return write_series(
            folder,
            volume,
            patient_id="TEST",
            study="day 1",
            series_description=series,
            attributes=attributes,
            uid_seed="tests",
        )

    return write


@pytest.fixture
def series(tmp_path, oblique, write_ct) -> list[Path]:
    """The files of one good series in ``tmp_path/series``."""
    return write_ct(tmp_path / "series", oblique)
