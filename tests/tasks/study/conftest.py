from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import yaml

from synthct.data.layout import Layout
from synthct.data.store.result_cache import LocalResults
from synthct.data.store.volumes import write_volume
from synthct.data.volume import Grid, Modality, Volume
from synthct.tasks.chain.params import load_params
from synthct.tasks.pipeline.fanout import here
from synthct.tasks.pipeline.stage import StageContext

SHAPE, SPACING = (6, 40, 36), (3.0, 2.0, 2.0)

PARAMS = {
    "dataset": "demo",
    "cohort": {"regions": ["thorax"]},
    "training": {
        "sources": ["mr"],
        "folds": 2,
        "smallest_training": 1,
        "validation_fraction": 0.5,
        "network": {"name": "unet_plus_plus", "slices": 1, "width": 8, "norm": "instance"},
        "mr": {"patch_size": [32, 64]},
        "steps": 2,
        "batch": 2,
        "validation_slices": 1,
    },
    "study": {
        "arms": [
            {
                "name": "cutout",
                "regularizers": [{"name": "cutout", "weight": 1.0}],
                "promise": "wrong_hu",
            },
            {
                "name": "norm_loss",
                "regularizers": [{"name": "norm_loss", "weight": 0.1}],
                "weights": [0.01, 0.1],
            },
        ],
        "pairs": [
            {"name": "clean"},
            {"name": "off-4mm", "misregistration_mm": 4.0},
            {"name": "moved", "alignment": "registered"},
        ],
        "score_on": ["truth", "registered"],
        "metrics": ["mae_hu", "hu_bands"],
        "outcomes": [
            "bias_hu",
            "bone_missed",
            "noise_gain_hu",
            "int8_hu",
            "shifted_hu",
            "coverage_gap",
            "wrong_hu",
        ],
    },
}


@pytest.fixture(scope="module")
def study_workspace(tmp_path_factory):
    """A workspace whose registration left ``patients`` tiny digital pairs; made anew, its units
    are kept."""
    folder = tmp_path_factory.mktemp("study")

    def make(patients=4, **study):
        layout = Layout(folder / "workspace")
        document = json.loads(json.dumps(PARAMS))
        document["study"] |= study
        layout.workspace.mkdir(exist_ok=True)
        layout.params_file.write_text(yaml.safe_dump(document))
        shutil.rmtree(layout.artefact("study"), ignore_errors=True)
        for number in range(patients):
            if not layout.artefact("registration").joinpath(f"P{number}_mr").exists():
                _pair(layout.artefact("registration") / f"P{number}_mr", number)
        units = LocalResults(folder / "units")
        units.root.mkdir(exist_ok=True)
        params = load_params(layout.params_file)
        sections = {"training": params.training, "registration": params.registration}
        return StageContext(layout, seed=1, units=units, fan_out=here, sections=sections)

    return make


def _pair(folder, number):
    rng = np.random.default_rng(number)
    coarse = rng.integers(0, 4, [-(-n // 8) for n in SHAPE])
    labels = coarse.repeat(8, 0).repeat(8, 1).repeat(8, 2)[: SHAPE[0], : SHAPE[1], : SHAPE[2]]
    ct = (np.array([-900, 0, 60, 1000])[labels] + rng.integers(-5, 6, SHAPE)).astype(np.int16)
    source = (np.array([5.0, 150.0, 170.0, 300.0])[labels]).astype(np.float32)
    mask = np.zeros(SHAPE, np.uint8)
    mask[:, 4:-4, 6:-3] = 1
    grid = Grid(SHAPE, SPACING)
    for kind, array, modality in (
        ("source", source, Modality.MR),
        ("mask", mask, Modality.MASK),
        ("ct", np.roll(ct, 1, axis=2), Modality.CT),
        ("truth_ct", ct, Modality.CT),
    ):
        write_volume(folder / f"{kind}.zarr", Volume(array, grid, modality))
    facts = {"case": folder.name, "patient": folder.name[:-3], "source": "mr", "region": "thorax",
             "synthetic": True, "method": "elastix_mi", "verdict": "pass"}  # fmt: skip
    (folder / "case.json").write_text(json.dumps(facts))
