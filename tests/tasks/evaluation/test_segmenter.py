"""Structures by a segmenter: never trained on test patients, its own accuracy is reported."""

from __future__ import annotations

import json
import shutil
import stat
import sys

import numpy as np
import pytest

from synthct.data.errors import MachineError, UsageError
from synthct.data.files import canonical_json, write_whole
from synthct.data.layout import Layout
from synthct.data.store.result_cache import LocalResults
from synthct.data.store.volumes import read_volume
from synthct.data.tables import read_table
from synthct.data.volume import Grid, Modality, Volume
from synthct.tasks.evaluation.params import EvaluationParams
from synthct.tasks.evaluation.run import run
from synthct.tasks.evaluation.segmenter.ask import check_segmenter, structures_of
from synthct.tasks.evaluation.segmenter.total import (
    identity,
    require_total_segmentator,
    total_segmentator,
)
from synthct.tasks.pipeline.fanout import here
from synthct.tasks.pipeline.stage import StageContext

SMALL = EvaluationParams(
    metrics=("mae_hu",),
    segmenter="small",
    segmenter_steps=150,
    segmenter_width=8,
    checks=(),
    source_consistency=False,
    baselines=(),
)


@pytest.fixture(scope="module")
def context(cohort, tmp_path_factory):
    """The MR half of the cohort, with its own result cache."""
    root = tmp_path_factory.mktemp("segmented")
    copy = shutil.copytree(cohort, root / "workspace")
    folds = copy / "artefacts" / "training" / "folds.json"
    write_whole(folds, canonical_json({"mr": json.loads(folds.read_text())["mr"]}))
    (root / "units").mkdir()
    return StageContext(Layout(copy), seed=1, units=LocalResults(root / "units"), fan_out=here)


@pytest.fixture(scope="module")
def segmented(context):
    """The stage run with the small segmenter; its out."""
    run(context, SMALL)
    return context.artefact("evaluation")


def dice(out, method, reference="truth"):
    wanted = {"method": method, "reference": reference}
    return {
        (row["case"], row["metric"]): float(row["value"])
        for row in read_table(out / "scores.csv")
        if wanted.items() <= row.items() and row["metric"].startswith("dice_")
    }


@pytest.mark.slow
def test_the_small_segmenter_knows_the_true_ct_and_nobody_that_it_is_asked_about(
    segmented, context
):
    ceiling = dice(segmented, "ceiling")
    assert {name for _, name in ceiling} == {"dice_bone", "dice_fat", "dice_lung", "dice_muscle"}
    assert min(ceiling.values()) > 0.8
    model = dice(segmented, "model")  # of untrained networks
    assert set(model) == set(ceiling)
    assert np.mean(list(model.values())) < 0.5 * np.mean(list(ceiling.values()))
    assert np.mean(list(dice(segmented, "registered").values())) > 0.6  # one row off
    folds = json.loads((context.artefact("training") / "folds.json").read_text())["mr"]
    for number, fold in enumerate(folds):
        result = json.loads((segmented / f"segmenters/mr_fold{number}/names.json").read_text())
        assert result["cases"] == fold["train"]
        assert not set(result["cases"]) & set(fold["test"])
    scores = json.loads((segmented / "HN-01_mr" / "scores.json").read_text())
    assert "ceiling is its own accuracy" in scores["segmentation"]


@pytest.mark.slow
def test_a_clinical_case_is_scored_against_the_same_segmenter_on_its_ct(segmented):
    found = dice(segmented, "model", "registered")
    assert ("HN-01_mr", "dice_bone") in found
    labels = [read_volume(segmented / f"segmented/HN-01_mr/{n}.zarr").array for n in ("sct", "ct")]
    bone = sorted(["bone", "fat", "lung", "muscle"]).index("bone") + 1
    masks = [one == bone for one in labels]
    expected = 2 * (masks[0] & masks[1]).sum() / sum(mask.sum() for mask in masks)
    assert found["HN-01_mr", "dice_bone"] == pytest.approx(expected, abs=1e-5)


@pytest.mark.slow
def test_a_second_run_trains_and_segments_nothing(segmented, context, monkeypatch):
    monkeypatch.setattr("synthct.tasks.evaluation.segmenter.fit.train", None)
    monkeypatch.setattr("synthct.tasks.evaluation.segmenter.network.segment", None)
    run(context, SMALL)


def test_a_dataset_without_label_maps_is_reported_before_segmentation(workspace, context_of):
    for folder in (workspace / "artefacts" / "registration").iterdir():
        shutil.rmtree(folder / "truth_labels.zarr")
    with pytest.raises(UsageError, match="label maps") as caught:
        run(context_of(workspace), SMALL)
    assert caught.value.code == "segmenter-no-labels"


def test_none_segments_nothing(workspace, context_of):
    run(context_of(workspace), SMALL.model_copy(update={"segmenter": "none"}))
    assert dice(workspace / "artefacts" / "evaluation", "model") == {}


def test_totalsegmentator_that_is_not_installed_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError) as caught:
        require_total_segmentator()
    assert caught.value.code == "segmenter-missing"


@pytest.fixture
def command(tmp_path, monkeypatch):
    """A command of that name that answers in its file format: bone by threshold."""
    script = tmp_path / "bin" / "TotalSegmentator"
    script.parent.mkdir()
    script.write_text(
        f"#!{sys.executable}\n"
        "import pathlib, sys\nimport SimpleITK as sitk\n"
        "given = dict(zip(sys.argv[1::2], sys.argv[2::2]))\n"
        "ct = sitk.ReadImage(given['-i'])\n"
        "if sitk.GetArrayFromImage(ct).max() < 0: sys.exit('no body in this CT')\n"
        "out = pathlib.Path(given['-o']); out.mkdir()\n"
        "sitk.WriteImage(ct > 200, str(out / 'vertebrae.nii.gz'))\n"
        "sitk.WriteImage(ct > 5000, str(out / 'aorta.nii.gz'))\n"
    )
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{script.parent}")
    monkeypatch.setenv("TOTALSEG_WEIGHTS_PATH", str(tmp_path / "weights"))
    return tmp_path / "weights"


def scan(high_hu):
    array = np.full((6, 12, 14), -1000, np.int16)
    array[2:4, 3:9, 5:8] = high_hu
    return Volume(array, Grid(array.shape, (3.0, 1.5, 1.0)), Modality.CT)


def test_totalsegmentator_answers_on_the_voxels_of_the_ct(command):
    with pytest.raises(UsageError, match="no weights"):
        require_total_segmentator()
    command.mkdir()
    (command / "checkpoint.pth").touch()
    labels, names = total_segmentator(scan(900))
    assert names == {"1": "aorta", "2": "vertebrae"}
    assert ((labels == 2) == (scan(900).array > 200)).all()
    with pytest.raises(MachineError, match="no body in this CT"):
        total_segmentator(scan(-900))


def test_two_files_are_segmented_by_it_and_another_version_of_it_is_another_segmenter(command):
    command.mkdir()
    (command / "checkpoint.pth").touch()
    ct = scan(900)
    found = structures_of(ct, ct.array > 0, "totalsegmentator")
    assert found["vertebrae"].sum() == (ct.array > 200).sum()
    before = identity()
    assert identity() == before
    (command / "checkpoint.pth").write_bytes(b"newer")
    assert identity() != before


@pytest.mark.slow
def test_a_trained_small_one_answers_for_two_files_from_its_folder(segmented):
    folder = min((segmented / "segmenters").glob("*/names.json")).parent
    check_segmenter(str(folder))
    ct = scan(900)
    found = structures_of(ct, ct.array > 0, str(folder))
    assert set(found) == set(json.loads((folder / "names.json").read_text())["classes"])
    assert sum(mask.sum() for mask in found.values()) <= (ct.array > 0).sum()
