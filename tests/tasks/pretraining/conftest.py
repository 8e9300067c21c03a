from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch

from synthct.data.layout import Layout
from synthct.data.store.result_cache import LocalResults
from synthct.data.store.volumes import write_volume
from synthct.data.volume import Grid, Modality, Volume
from synthct.tasks.pipeline.fanout import here
from synthct.tasks.pipeline.stage import StageContext
from synthct.tasks.pretraining.base import Views
from synthct.tasks.registration.params import RegistrationParams
from synthct.tasks.training.params import TrainingParams

SHAPE, SPACING_MM = (10, 32, 36), (3.0, 2.0, 2.0)


@dataclass
class Free:
    """Embeddings that are given, or a function of the images."""

    first: Any
    second: Any
    function: Any = None

    def embedded(self, images, places):
        return self.function(images, places)

    predicted = taught = embedded


@pytest.fixture
def views():
    """Random windows of three scans with matching places."""
    rng = torch.Generator().manual_seed(3)
    first, second = (torch.randn((3, 1, 8, 8), generator=rng) for _ in range(2))
    places = torch.randint(8, (3, 5, 2), generator=rng)
    hidden = torch.zeros(3, 1, 8, 8)
    hidden[:, :, :4] = 1
    inside = places.clone()
    inside[..., 0] %= 4
    return Views(first, second, places, places, hidden, inside, torch.Generator().manual_seed(4))


def scan(seed, modality):
    """Blobs of four tissues in a body."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 4, [-(-n // 6) for n in SHAPE])
    labels = coarse.repeat(6, 0).repeat(6, 1).repeat(6, 2)[: SHAPE[0], : SHAPE[1], : SHAPE[2]]
    tissues = [-900.0, 0.0, 60.0, 1000.0] if modality is Modality.CT else [5.0, 150.0, 170.0, 300.0]
    array = np.array(tissues)[labels] + rng.normal(0, 3, SHAPE)
    body = np.zeros(SHAPE, bool)
    body[1:-1, 4:-4, 6:-3] = True
    array[~body] = -1000.0 if modality is Modality.CT else 0.0
    kind = np.int16 if modality is Modality.CT else np.float32
    grid = Grid(SHAPE, SPACING_MM)
    return Volume(array.astype(kind), grid, modality), Volume(body, grid, Modality.MASK)


@pytest.fixture(scope="session")
def stored(tmp_path_factory):
    """Stored scans of six patients, each with an MR and a CT of its own anatomy."""
    folder = tmp_path_factory.mktemp("ingested")
    for number, patient in enumerate("abcdef"):
        scans = {}
        for name, modality in (("mr", Modality.MR), ("ct", Modality.CT)):
            volume, body = scan(number + (modality is Modality.CT) * 10, modality)
            write_volume(folder / patient / f"{name}.zarr", volume)
            write_volume(folder / patient / f"{name}_body.zarr", body)
            scans[name] = {"modality": str(modality)}
        facts = {"patient": patient, "region": "thorax", "scans": scans}
        (folder / patient / "patient.json").write_text(json.dumps(facts))
    return folder


TRAINING = {
    "sources": ["mr"], "folds": 2, "smallest_training": 1,
    "network": {"name": "unet_plus_plus", "slices": 3, "width": 4, "stem_stride": 1,
                "norm": "instance"},
    "mr": {"patch_size": [32, 32]},
}  # fmt: skip
PRETRAINING = {
    "steps": 4, "batch": 2, "voxels": 8, "dimensions": 4, "history_every": 2,
    "checkpoint_every": 2, "patch_size": [32, 32], "device": "cpu",
}  # fmt: skip


@pytest.fixture
def workspace(stored, tmp_path):
    """A workspace with pairs of patients a to e; that of f failed at registration."""

    def make(**training):
        layout = Layout(tmp_path / "workspace")
        layout.artefact("ingestion").parent.mkdir(parents=True)
        layout.artefact("ingestion").symlink_to(stored)
        for patient in "abcdef":
            case = layout.artefact("registration") / f"{patient}_mr"
            case.mkdir(parents=True)
            verdict = "fail" if patient == "f" else "pass"
            facts = {"case": f"{patient}_mr", "patient": patient, "source": "mr",
                     "region": "thorax", "verdict": verdict}  # fmt: skip
            (case / "case.json").write_text(json.dumps(facts))
        units = LocalResults(tmp_path / "units")
        units.root.mkdir()
        sections = {
            "training": TrainingParams.from_json({**TRAINING, **training}),
            "registration": RegistrationParams(grid_spacing_mm=SPACING_MM),
        }
        return StageContext(layout, seed=1, units=units, fan_out=here, sections=sections)

    return make


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
