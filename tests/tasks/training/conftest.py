from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from synthct.data.environment import EVENTS
from synthct.data.layout import Layout
from synthct.data.store.result_cache import LocalResults
from synthct.data.store.volumes import write_volume
from synthct.data.volume import Grid, Modality, Volume
from synthct.tasks.models.description import SourceScaling
from synthct.tasks.pipeline.fanout import here
from synthct.tasks.pipeline.stage import StageContext
from synthct.tasks.training.cases import ARRAYS, open_case
from synthct.tasks.training.params import TrainingParams

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


TINY = {
    "network": {"name": "unet_plus_plus", "slices": 3, "width": 4},
    "mr": {"patch_size": [32, 32]},
    "steps": 6, "batch": 2, "validation_every": 3, "validation_slices": 3,
    "history_every": 2, "checkpoint_every": 2,
}  # fmt: skip


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


NAMES = ("a_mr", "b_mr", "c_mr")


@pytest.fixture(scope="module")
def pairs(stored, tmp_path_factory):
    """Three stored pairs; of another three the second has a hole in its source."""
    folder, files = tmp_path_factory.mktemp("pairs"), {}
    for broken in (False, True):
        for seed, name in enumerate(NAMES):
            facts = {"seed": seed, "broken": broken and name == "b_mr"}
            for kind, path in stored(folder / str(broken), name, **facts).items():
                files[broken, f"{name}/{kind}"] = path
    return files


@pytest.fixture
def order(pairs, tmp_path):
    """Arguments of ``fit`` for two training pairs and one to validate on."""

    def make(label="one", *, held_out="patients", broken=False, **changes):
        files = {name: path for (hole, name), path in pairs.items() if hole == broken}
        out, scratch = tmp_path / label / "out", tmp_path / label / "scratch"
        out.mkdir(parents=True)
        scratch.mkdir()
        slab = held_out == "slab"
        split = {
            "train": ["a_mr", "b_mr"], "validation": ["a_mr", "b_mr"] if slab else ["c_mr"],
            "test": [], "held_out": held_out,
        }  # fmt: skip
        params = TrainingParams.model_validate_json(json.dumps({**TINY, **changes}))
        return {
            "out": out, "scratch": scratch, "source": "mr", "fold": 0, "seed": 1,
            "params": params.model_dump(mode="json"), "split": split,
            "regions": dict.fromkeys(NAMES, "thorax"), **files,
        }  # fmt: skip

    return make


@pytest.fixture
def workspace(stored, tmp_path, monkeypatch):
    """A workspace whose registration wrote some pairs, given as ``{case: verdict}``."""
    monkeypatch.setenv(EVENTS, str(tmp_path / "events.jsonl"))

    def make(verdicts, *, regions=None):
        layout = Layout(tmp_path / "workspace")
        registered = layout.artefact("registration")
        for seed, (case, verdict) in enumerate(verdicts.items()):
            patient, source = case.rsplit("_", 1)
            stored(registered, case, seed=seed)
            region = (regions or {}).get(patient, "thorax")
            facts = {"case": case, "patient": patient, "source": source, "region": region,
                     "synthetic": True, "method": "elastix_mi", "verdict": verdict}  # fmt: skip
            (registered / case / "case.json").write_text(json.dumps(facts))
        units = LocalResults(tmp_path / "units")
        units.root.mkdir(exist_ok=True)
        return StageContext(layout, seed=1, units=units, fan_out=here)

    return make


@pytest.fixture
def events(tmp_path):
    """The events of a kind that the workspace's stage told."""

    def told(kind):
        lines = (tmp_path / "events.jsonl").read_text().splitlines()
        return [event for event in map(json.loads, lines) if event["kind"] == kind]

    return told
