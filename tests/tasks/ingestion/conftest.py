"""Small bodies with lungs, air around and a couch, and raw data sets made of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from synthct.data.files import content_hash
from synthct.data.layout import Layout
from synthct.data.store.result_cache import open_result_cache
from synthct.data.volume import Grid, Modality, Volume
from synthct.data.writers.dicom import write_series
from synthct.tasks.ingestion.dataset import RawDataset, RawPatient, RawScan
from synthct.tasks.pipeline.fanout import here
from synthct.tasks.pipeline.stage import StageContext
from tests.fixtures.intake import KEY

SHAPE = (16, 48, 56)
GRID = Grid(SHAPE, (4.0, 3.0, 3.0), (-30.0, -70.0, -85.0))


def inside(centre: tuple[float, float], radii: tuple[float, float]) -> np.ndarray:
    """An elliptic cylinder, (Z, Y, X) bool; voxels."""
    y, x = np.mgrid[: SHAPE[1], : SHAPE[2]]
    disc = ((y - centre[0]) / radii[0]) ** 2 + ((x - centre[1]) / radii[1]) ** 2 <= 1
    return np.broadcast_to(disc, SHAPE)


@pytest.fixture(scope="session")
def trunk() -> np.ndarray:
    """The body as it should be outlined: everything inside the skin, lungs too."""
    return inside((22, 28), (14, 20))


@pytest.fixture(scope="session")
def ct(trunk) -> Volume:
    """HU: tissue, two lungs, spine, air, and a couch plate under the back."""
    noise = np.random.default_rng(4).normal(0, 15, SHAPE)
    values = np.where(trunk, 40.0, -1000.0) + noise
    for x in (19, 37):
        values[inside((21, x), (7, 6))] = -800
    values[inside((32, 28), (2, 3))] = 900
    values[:, 39:40, 4:52] = -200  # one voxel, 3 mm: thinner than the opening
    return Volume(np.rint(values).astype(np.int16), GRID, Modality.CT)


@pytest.fixture(scope="session")
def mr(trunk) -> Volume:
    """Arbitrary units: bright body, dark lungs and bone, Rician background."""
    rng = np.random.default_rng(5)
    values = np.where(trunk, 300.0, 0.0)
    for x in (19, 37):
        values[inside((21, x), (7, 6))] = 25
    values = np.hypot(values + rng.normal(0, 8, SHAPE), rng.normal(0, 8, SHAPE))
    return Volume(np.rint(values).astype(np.float32), GRID, Modality.MR)


def _moved(volume: Volume) -> Volume:
    """Another person: organs elsewhere, two slices fewer."""
    array = np.ascontiguousarray(np.roll(volume.array, (-4, 5), axis=(1, 2))[:14])
    return Volume(array, volume.crop((0, 0, 0), (14, *SHAPE[1:])).grid, volume.modality)


@pytest.fixture(scope="session")
def other_ct(ct) -> Volume:
    """CT of a second patient."""
    return _moved(ct)


@pytest.fixture(scope="session")
def other_mr(mr) -> Volume:
    """MR of a second patient."""
    return _moved(mr)


@pytest.fixture
def make_raw(tmp_path, ct, mr) -> Callable[..., Path]:
    """``make_raw({"A": {"ct": volume, "mr": volume}})``: data/raw/demo below ``tmp_path``."""

    def make(patients: dict[str, dict[str, Volume]]) -> Path:
        raw = tmp_path / "data" / "raw" / "demo"
        table = {}
        for patient, volumes in patients.items():
            scans = {}
            for name, volume in volumes.items():
                path = raw / patient / name
                write_series(path, volume, patient_id=patient, study="1",
                             series_description=name, uid_seed="t")  # fmt: skip
                scans[name] = RawScan(
                    path=f"{patient}/{name}",
                    format="dicom",
                    modality=volume.modality,
                    sha256=content_hash(path),
                )
            table[patient] = RawPatient(region="thorax", scans=scans)
        RawDataset(dataset="demo", patients=table).save(raw)
        return raw

    return make


@pytest.fixture
def context(tmp_path, monkeypatch) -> StageContext:
    """A stage context whose working directory is ``tmp_path``."""
    monkeypatch.chdir(tmp_path)
    options: dict[str, Any] = {"max_excluded_fraction": 1.0}
    return StageContext(Layout(), 1, open_result_cache(), here, **options)


@pytest.fixture
def pseudonym_key(monkeypatch) -> None:
    """The key that names patients, as the environment gives it."""
    monkeypatch.setenv("SYNTHCT_PSEUDONYM_KEY", KEY)


@pytest.fixture
def source(tmp_path, ct, mr, other_ct, other_mr):
    """Two patients as a hospital sends them: nested, mixed."""

    def send(patient, scans):
        for name, volume in scans.items():
            write_series(tmp_path / "pacs" / patient / "deep" / name, volume, patient_id=patient,
                         study="1", series_description=name, uid_seed="hospital")  # fmt: skip
        return tmp_path / "pacs" / patient

    send("DOE123", {"ct": ct, "mr": mr})
    send("ROE456", {"ct": other_ct, "mr": other_mr})
    return tmp_path / "pacs"
