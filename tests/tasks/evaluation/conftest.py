"""A tiny cohort with known truth, as the earlier stages would have left it, and real networks."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from scipy.ndimage import gaussian_filter

from synthct.data.files import canonical_json, write_whole
from synthct.data.layout import Layout
from synthct.data.store.result_cache import LocalResults
from synthct.data.store.volumes import write_volume
from synthct.data.volume import Grid, Modality, Volume
from synthct.tasks.models.description import ModelDescription, SourceScaling, TargetScaling
from synthct.tasks.models.networks import NETWORKS
from synthct.tasks.pipeline.fanout import here
from synthct.tasks.pipeline.stage import StageContext
from tests.fixtures.scored_files import SHAPE as FILE_SHAPE
from tests.fixtures.scored_files import save

SHAPE = (10, 40, 44)
SPACING_MM = (3.0, 1.5, 1.5)
HU = np.array([-1000, 55, 900, -790, -100], np.int16)
LABELS = {
    "1": {"name": "muscle", "structure": "muscle"},
    "2": {"name": "cortical_bone", "structure": "bone"},
    "3": {"name": "lung", "structure": "lung"},
    "4": {"name": "fat", "structure": "fat"},
}
PATIENTS = {"HN-01": "head-neck", "HN-02": "head-neck", "TH-01": "thorax", "TH-02": "thorax"}
VERDICTS = {"HN-02_mr": "suspect", "TH-02_cbct": "fail"}


def anatomy(rng):
    """Labels of an ellipse with fat around it, two lungs and a bone, a little different each."""
    z, y, x = np.meshgrid(*[np.linspace(-1, 1, n) for n in SHAPE], indexing="ij")
    a, b, shift = rng.uniform(0.75, 0.85), rng.uniform(0.8, 0.9), rng.uniform(-0.1, 0.1)
    labels = np.zeros(SHAPE, np.uint8)
    labels[(y / a) ** 2 + (x / b) ** 2 < 1] = 4
    labels[(y / (a - 0.15)) ** 2 + (x / (b - 0.15)) ** 2 < 1] = 1
    for side in (-0.3, 0.3):
        labels[((y - shift) / 0.4) ** 2 + ((x - side) / 0.2) ** 2 + 0.2 * z**2 < 1] = 3
    labels[(y - 0.5) ** 2 + (x - shift) ** 2 < 0.03] = 2
    return labels


def write_case(folder, patient, source, seed):
    """One registered pair of a digital patient; the registration is one row off."""
    rng = np.random.default_rng(seed)
    grid = Grid(SHAPE, SPACING_MM)
    labels = anatomy(rng)
    truth = HU[labels] + (labels > 0) * rng.normal(0, 8, SHAPE)
    if source == "cbct":
        scan = gaussian_filter(truth, 0.7) * 0.7 + 80 + rng.normal(0, 40, SHAPE)
    else:
        signal = np.array([0, 300, 20, 40, 800])[labels]
        scan = gaussian_filter(signal.astype(float), 0.5) + rng.normal(0, 10, SHAPE)
    modality = Modality.CBCT if source == "cbct" else Modality.MR
    moved = np.roll(truth, 1, axis=1)
    volumes = {
        "source": (scan.astype(np.float32), modality),
        "mask": ((labels > 0).astype(np.uint8), Modality.MASK),
        "ct": (np.rint(moved).astype(np.int16), Modality.CT),
        "unregistered_ct": (np.rint(np.roll(truth, 5, axis=2)).astype(np.int16), Modality.CT),
        "truth_ct": (np.rint(truth).astype(np.int16), Modality.CT),
        "truth_labels": (labels, Modality.LABELS),
    }
    for name, (array, kind) in volumes.items():
        write_volume(folder / f"{name}.zarr", Volume(array, grid, kind))
    case = f"{patient}_{source}"
    facts = {
        "case": case,
        "patient": patient,
        "source": source,
        "region": PATIENTS[patient],
        "synthetic": True,
        "method": "test",
        "verdict": VERDICTS.get(case, "pass"),
    }
    write_whole(folder / "case.json", canonical_json(facts))


def write_network(folder, source, fold, train, test):
    """A real, untrained network: evaluation must not care how good it is."""
    options = {"slices": 3, "width": 8, "norm": "instance"}  # needs no running statistics
    network = {"name": "unet_plus_plus", **options}
    kind = "zscore_in_mask" if source == "mr" else "min_p99.5"
    description = ModelDescription(
        source=source,
        fold=fold,
        network=network,
        slices=3,
        patch_size=(64, 64),
        spacing_mm=SPACING_MM,
        source_scaling=SourceScaling(kind=kind),
        target_scaling=TargetScaling(),
        train_cases=train,
        test_cases=test,
    )
    description.save(folder / "model.json")
    with torch.random.fork_rng():
        torch.manual_seed(fold)
        module = NETWORKS.build("unet_plus_plus", options).build()
    save_file(module.state_dict(), folder / "weights.safetensors")


def entries(source):
    patients = list(PATIENTS)
    return [
        {
            "train": [f"{p}_{source}" for p in patients if p not in test],
            "validation": [],
            "test": [f"{p}_{source}" for p in test],
        }
        for test in (patients[::2], patients[1::2])
    ]


@pytest.fixture(scope="session")
def cohort(tmp_path_factory):
    """Workspace folder with the outs of ingestion, registration and training."""
    artefacts = tmp_path_factory.mktemp("cohort") / "artefacts"
    write_whole(artefacts / "ingestion" / "labels.json", canonical_json(LABELS))
    folds = {source: entries(source) for source in ("mr", "cbct")}
    for number, patient in enumerate(PATIENTS):
        for source in folds:
            folder = artefacts / "registration" / f"{patient}_{source}"
            write_case(folder, patient, source, seed=number)
    for source, result in folds.items():
        for number, entry in enumerate(result):
            folder = artefacts / "training" / f"{source}_fold{number}"
            folder.mkdir(parents=True)
            write_network(folder, source, number, entry["train"], entry["test"])
    write_whole(artefacts / "training" / "folds.json", canonical_json(folds))
    return artefacts.parent


@pytest.fixture
def workspace(cohort, tmp_path):
    """A copy that a test may change, MR only."""
    copy = shutil.copytree(cohort, tmp_path / "workspace")
    folds = copy / "artefacts" / "training" / "folds.json"
    write_whole(folds, canonical_json({"mr": entries("mr")}))
    return copy


@pytest.fixture
def context_of(tmp_path):
    """The context of a stage in a workspace, with its own result cache."""

    def build(workspace, **changes):
        (tmp_path / "units").mkdir(exist_ok=True)
        return StageContext(
            layout=Layout(workspace),
            seed=1,
            units=LocalResults(tmp_path / "units"),
            fan_out=here,
            **changes,
        )

    return build


@pytest.fixture
def arrays():
    """Reference [HU], prediction [HU] and mask of a small body."""
    rng = np.random.default_rng(0)
    _z, y, x = np.meshgrid(*[np.linspace(-1, 1, n) for n in FILE_SHAPE], indexing="ij")
    mask = (y / 0.8) ** 2 + (x / 0.8) ** 2 < 1
    reference = np.where(mask, 40.0, -1000.0)
    reference[mask & (x > 0.3)] = 800
    reference[mask & (x < -0.4)] = -100
    prediction = reference + rng.normal(0, 20, FILE_SHAPE)
    return reference.astype(np.int16), prediction.astype(np.float32), mask.astype(np.uint8)


@pytest.fixture
def files(arrays, tmp_path):
    """The same as files, by their role."""
    reference, prediction, mask = arrays
    return {
        "prediction": save(tmp_path / "sct.mha", prediction),
        "reference": save(tmp_path / "ct.nii.gz", reference),
        "mask": save(tmp_path / "mask.mha", mask),
    }
