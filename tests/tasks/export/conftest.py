from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from synthct.data.files import canonical_json, write_whole
from synthct.data.store.volumes import write_volume
from synthct.data.tables import write_table
from synthct.data.volume import Grid, Modality, Volume
from synthct.tasks.evaluation.statistics.gain import gain_over_best
from synthct.tasks.export.params import ExportParams
from synthct.tasks.export.release import release_source
from synthct.tasks.models.description import ModelDescription, SourceScaling, TargetScaling
from synthct.tasks.models.networks import NETWORKS

SCORES = ("case", "patient", "source", "region", "fold", "method", "reference", "metric", "value")


@dataclass(frozen=True)
class ToyNetwork:
    """Down by 2, up by 2: enough to need sizes that are multiples of the divisor."""

    slices: int = 3
    dimensions = "2.5d"
    divisor = 4

    def build(self) -> torch.nn.Module:
        return torch.nn.Sequential(
            torch.nn.Conv2d(self.slices, 4, 3, stride=2, padding=1),
            torch.nn.BatchNorm2d(4),
            torch.nn.LeakyReLU(),
            torch.nn.Upsample(scale_factor=2, mode="nearest"),
            torch.nn.Conv2d(4, 1, 3, padding=1),
            torch.nn.Tanh(),
        )


@pytest.fixture(autouse=True, scope="session")
def _toy_network_is_registered():
    if "toy" not in NETWORKS.names():
        NETWORKS.register("toy")(ToyNetwork)


@pytest.fixture(scope="session")
def describe():
    def make(fold: int = 0, **changes) -> ModelDescription:
        values = {
            "source": "mr",
            "fold": fold,
            "network": {"name": "toy", "slices": 3},
            "slices": 3,
            "patch_size": (32, 32),
            "divisor": 4,
            "spacing_mm": (3.0, 1.0, 1.0),
            "source_scaling": SourceScaling(),
            "target_scaling": TargetScaling(),
            "regularizers": [{"name": "cutout", "weight": 1.0}],
            "train_cases": ["P1_mr"],
            "validation_cases": ["P2_mr"],
            "test_cases": ["P3_mr"],
            "validation_mae_hu": 90.0 + fold,
        }
        return ModelDescription(**{**values, **changes})

    return make


def write_fold(folder, model: ModelDescription, seed: int) -> None:
    torch.manual_seed(seed)
    options = {key: value for key, value in model.network.items() if key != "name"}
    network = NETWORKS.build(model.network["name"], options).build()
    folder.mkdir(parents=True)
    save_file(network.state_dict(), folder / "weights.safetensors")
    model.save(folder / "model.json")


def write_case(folder, seed: int) -> None:
    random = np.random.default_rng(seed)
    grid = Grid((6, 44, 40), (3.0, 1.0, 1.0))
    inside = np.zeros(grid.shape, np.uint8)
    inside[1:5, 5:40, 4:36] = 1
    array = random.normal(100, 20, grid.shape).astype(np.float32)
    write_volume(folder / "source.zarr", Volume(array, grid, Modality.MR))
    write_volume(folder / "mask.zarr", Volume(inside, grid, Modality.MASK))
    ct = np.where(inside > 0, 40 + 2 * (array - 100), -1000).astype(np.int16)
    write_volume(folder / "ct.zarr", Volume(ct, grid, Modality.CT))
    name = folder.name
    case = {
        "case": name, "patient": name.split("_")[0], "source": "mr", "region": "thorax",
        "synthetic": True, "method": "elastix", "verdict": "pass",
    }  # fmt: skip
    write_whole(folder / "case.json", canonical_json(case))


@pytest.fixture
def artefacts(tmp_path, describe):
    """What the earlier stages leave: two folds of ``mr`` on three patients."""
    return make_artefacts(tmp_path / "artefacts", describe)


def make_artefacts(root, describe):
    names = ["P1_mr", "P2_mr", "P3_mr"]
    for seed, name in enumerate(names):
        write_case(root / "registration" / name, seed)
    for fold in (0, 1):
        write_fold(root / "training" / f"mr_fold{fold}", describe(fold), seed=fold)
    split = {"train": ["P1_mr"], "validation": ["P2_mr"], "test": ["P3_mr"]}
    write_whole(root / "training" / "folds.json", canonical_json({"mr": [split, split]}))
    write_whole(root / "training" / "units.json", canonical_json({"mr_fold0": {"key": "abc"}}))
    write_scores(root, model_hu=60.0, lookup_hu=100.0)
    dataset = {
        "dataset": "demo", "synthetic": True,
        "licence": {"name": "CC-BY-NC", "url": "u", "cite": "c", "non_commercial": True},
    }  # fmt: skip
    write_whole(root / "ingestion" / "dataset.json", canonical_json(dataset))
    return root


def write_scores(root, *, model_hu: float, lookup_hu: float, failed=None, cases=12) -> None:
    """``scores.csv`` and the parts of ``summary.json`` that the gate reads."""
    rows = [
        {
            "case": f"P{n}_mr", "patient": f"P{n}", "source": "mr", "region": "thorax", "fold": 0,
            "method": method, "reference": "registered", "metric": "mae_hu",
            "value": value + n % 3,
        }
        for method, value in (("model", model_hu), ("lookup", lookup_hu))
        for n in range(cases)
    ]  # fmt: skip
    write_table(root / "evaluation" / "scores.csv", SCORES, rows)
    scores = {
        method: {row["case"]: row["value"] for row in rows if row["method"] == method}
        for method in ("model", "lookup")
    }
    gain = gain_over_best(scores, np.random.default_rng(0)).as_json()
    summary = {
        "gain": {"mr": {"registered": gain}},
        "suspect": {"mr": {"cases": cases, "failed": failed or {}}},
    }
    write_whole(root / "evaluation" / "summary.json", canonical_json(summary))


@pytest.fixture
def rescore(artefacts):
    return lambda **values: write_scores(artefacts, **values)


@pytest.fixture
def facts():
    return dict(FACTS)


FACTS: dict = {
    "intended_use": "research",
    "dataset": {"dataset": "demo", "licence": {"name": "X", "non_commercial": True}},
    "cases": [
        {"patient": f"P{n}", "region": "thorax", "synthetic": True, "method": "elastix",
         "verdict": "pass"} for n in (1, 2, 3)
    ],
    "gate": {}, "scores": [],
    "methods": {"training": "A network is trained."},
    "provenance": {"code_sha256": "0" * 64},
    "formats": {"release": 1},
}  # fmt: skip


@pytest.fixture
def release_of(artefacts, tmp_path):
    """Run the unit on one toy fold; the folder it wrote."""

    def make(name: str = "release", *, folds=(0,), params: dict | None = None, refusal=None):
        return make_release(
            tmp_path / name, artefacts, folds=folds, params=params or {}, refusal=refusal
        )

    return make


@pytest.fixture(scope="session")
def released_from(tmp_path_factory, describe):
    """(release of two folds, the artefacts it was made from), made once: only read it."""
    root = tmp_path_factory.mktemp("released")
    artefacts = make_artefacts(root / "artefacts", describe)
    return make_release(root / "release", artefacts, folds=(0, 1)), artefacts


@pytest.fixture
def released(released_from):
    return released_from[0]


def make_release(out, artefacts, *, folds, params=None, refusal=None):
    out.mkdir()
    folders = {}
    for fold in folds:
        folders[f"fold{fold}"] = artefacts / "training" / f"mr_fold{fold}"
        folders[f"case{fold}"] = artefacts / "registration" / "P3_mr"
    for number, case in enumerate(("P1_mr", "P2_mr")):
        folders[f"seen{number:03d}"] = artefacts / "registration" / case
    settings = json.loads(ExportParams(**(params or {})).model_dump_json())
    release_source(
        out=out,
        source="mr",
        params=settings,
        facts=dict(FACTS),
        ingestion={},
        refusal=refusal,
        **folders,
    )
    return out
