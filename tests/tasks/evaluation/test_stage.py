"""The stage: nobody is scored by a network that knows them, and every number says against what."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from synthct.data.errors import MachineError
from synthct.data.files import content_hash
from synthct.data.layout import Layout
from synthct.data.store.result_cache import LocalResults
from synthct.data.store.volumes import read_volume, write_volume
from synthct.data.tables import read_table
from synthct.data.volume import Modality
from synthct.tasks.evaluation.folds import read_folds
from synthct.tasks.evaluation.params import EvaluationParams
from synthct.tasks.evaluation.run import run
from synthct.tasks.pipeline.fanout import here
from synthct.tasks.pipeline.stage import StageContext

PARAMS = EvaluationParams()
QUICK = EvaluationParams(metrics=("mae_hu",))


@pytest.fixture(scope="session")
def evaluated(cohort, tmp_path_factory):
    """The stage run once over the cohort; its out."""
    units = LocalResults(tmp_path_factory.mktemp("units"))
    workspace = shutil.copytree(cohort, tmp_path_factory.mktemp("evaluated") / "workspace")
    run(StageContext(Layout(workspace), seed=1, units=units, fan_out=here), PARAMS)
    return workspace / "artefacts" / "evaluation"


@pytest.fixture(scope="session")
def table(evaluated):
    return read_table(evaluated / "scores.csv")


@pytest.fixture(scope="session")
def summary(evaluated):
    return json.loads((evaluated / "summary.json").read_text())


def values(table, **wanted):
    rows = [row for row in table if all(row[name] == value for name, value in wanted.items())]
    return {row["case"]: float(row["value"]) for row in rows}


def test_every_test_case_has_an_sct_on_its_own_grid_empty_outside_the_body(evaluated, cohort):
    registration = cohort / "artefacts" / "registration"
    cases = sorted(path.name for path in registration.iterdir())
    assert sorted(path.parent.name for path in evaluated.glob("*/scores.json")) == cases
    for case in cases:
        sct = read_volume(evaluated / case / "sct.zarr")
        mask = read_volume(registration / case / "mask.zarr")
        assert sct.modality is Modality.CT
        assert sct.array.dtype == np.int16
        assert sct.grid == mask.grid
        assert (sct.array[mask.array == 0] == -1024).all()
        assert len(np.unique(sct.array[mask.array > 0])) > 50


def test_the_scores_are_those_of_the_stored_images(evaluated, cohort, table):
    folder = cohort / "artefacts" / "registration" / "HN-01_mr"
    inside = read_volume(folder / "mask.zarr").array > 0
    sct = read_volume(evaluated / "HN-01_mr" / "sct.zarr").array[inside].astype(float)
    for reference, name in (("registered", "ct"), ("truth", "truth_ct")):
        ct = read_volume(folder / f"{name}.zarr").array[inside]
        found = values(table, method="model", reference=reference, metric="mae_hu", source="mr")
        assert found["HN-01_mr"] == pytest.approx(np.abs(sct - ct).mean(), rel=1e-5)
        found = values(table, method="model", reference=reference, metric="me_hu", source="mr")
        assert found["HN-01_mr"] == pytest.approx((sct - ct).mean(), rel=1e-5)
    moved = read_volume(folder / "unregistered_ct.zarr").array[inside].astype(float)
    ct = read_volume(folder / "ct.zarr").array[inside]
    found = values(table, method="unregistered", reference="registered", metric="mae_hu")
    assert found["HN-01_mr"] == pytest.approx(np.abs(moved - ct).mean(), rel=1e-5)


def test_baselines_stand_where_their_modality_allows(table):
    def methods(source, reference):
        wanted = {"source": source, "reference": reference, "metric": "mae_hu"}
        return {row["method"] for row in table if wanted.items() <= row.items()}

    everywhere = {"model", "constant", "lookup", "unregistered"}
    assert methods("mr", "registered") == everywhere
    assert methods("cbct", "registered") == everywhere | {"linear", "raw", "two_point"}
    for source in ("mr", "cbct"):  # the moved CT is a reference, and measured itself
        assert methods(source, "truth") == methods(source, "registered") | {"registered"}


def test_a_failed_registration_is_no_reference_but_the_truth_still_is(table, summary):
    assert values(table, case="TH-02_cbct", reference="registered") == {}
    assert values(table, case="TH-02_cbct", reference="truth", metric="mae_hu", method="model")
    assert list(summary["not_scored_against_registered"]) == ["TH-02_cbct"]
    assert summary["mean"]["cbct"]["all"]["registered"]["model"]["n"] == 3
    assert summary["mean"]["cbct"]["all"]["truth"]["model"]["n"] == 4
    assert values(table, case="HN-02_mr", reference="registered", metric="mae_hu", method="model")


def test_suspect_registrations_can_be_left_out(workspace, context_of):
    run(context_of(workspace), QUICK.model_copy(update={"score_suspect": False}))
    out = workspace / "artefacts" / "evaluation"
    assert values(read_table(out / "scores.csv"), case="HN-02_mr", reference="registered") == {}
    left_out = json.loads((out / "summary.json").read_text())["not_scored_against_registered"]
    assert sorted(left_out) == ["HN-02_mr"]


def test_means_ratios_and_bias_are_those_of_the_table(table, summary):
    mean = summary["mean"]["mr"]["all"]["registered"]
    by_method = {
        method: values(table, source="mr", method=method, reference="registered", metric="mae_hu")
        for method in ("model", "lookup")
    }
    for method, found in by_method.items():
        assert mean[method]["n"] == len(found) == 4
        assert mean[method]["mae_hu"] == pytest.approx(np.mean(list(found.values())), rel=1e-5)
    ratio = summary["ratio"]["mr"]["registered"]["model_over_lookup"]
    expected = mean["model"]["mae_hu"] / mean["lookup"]["mae_hu"]
    # Four patients are too few for an interval or a test.
    assert ratio == {"n": 4, "value": pytest.approx(expected, rel=1e-4)}
    thorax = values(
        table, source="mr", method="model", reference="truth", metric="psnr_db", region="thorax"
    )
    result = summary["mean"]["mr"]["thorax"]["truth"]["model"]
    assert result["n"] == 2
    assert result["psnr_db"] == pytest.approx(np.mean(list(thorax.values())), rel=1e-5)
    truth = values(table, source="mr", method="lookup", reference="truth", metric="mae_hu")
    bias = summary["registration_bias"]["mr"]
    expected = np.mean([by_method["lookup"][case] - truth[case] for case in truth])
    assert bias["registered_less_truth"]["mae_hu"]["lookup"] == pytest.approx(expected, rel=1e-3)
    floor = values(table, source="mr", method="registered", reference="truth", metric="mae_hu")
    assert bias["reference_mae_hu"] == pytest.approx(np.mean(list(floor.values())), rel=1e-5)
    assert bias["reference_mae_hu"] > 50  # the moved CT is a whole row off
    assert set(summary["fold"]["mr"]) == {"fold0", "fold1"}


def test_dice_of_the_true_ct_is_the_ceiling_and_the_constant_loses_every_structure_but_one(table):
    for structure in ("bone", "lung", "fat", "soft"):
        ceiling = values(table, method="ceiling", metric=f"dice_{structure}", source="mr")
        model = values(table, method="model", metric=f"dice_{structure}", source="mr")
        assert min(ceiling.values()) > 0.95
        assert all(model[case] < ceiling[case] for case in ceiling)
    lost = [
        values(table, method="constant", metric=f"dice_{name}", source="mr")["HN-01_mr"]
        for name in ("bone", "lung", "fat", "soft")
    ]
    assert sorted(lost)[:3] == [0, 0, 0]
    assert values(table, metric="dice_air") == {}  # no gas in these patients


def test_errors_are_also_told_by_hu_band_and_by_true_structure(table, cohort):
    folder = cohort / "artefacts" / "registration" / "TH-01_cbct"
    bone = read_volume(folder / "truth_labels.zarr").array == 2
    raw = read_volume(folder / "source.zarr").array[bone].astype(float)
    error = raw - read_volume(folder / "truth_ct.zarr").array[bone]
    for metric, expected in (("mae", np.abs(error).mean()), ("me", error.mean())):
        found = values(table, method="raw", reference="truth", metric=f"structure_{metric}_hu_bone")
        assert found["TH-01_cbct"] == pytest.approx(expected, rel=1e-5)
    assert values(table, method="raw", reference="registered", metric="mae_hu_bone")
    assert values(table, metric="mae_hu_metal") == {}


def test_baselines_never_see_the_patient_they_are_scored_on(workspace, context_of, evaluated):
    folder = workspace / "artefacts" / "registration" / "HN-01_mr"
    ct = read_volume(folder / "ct.zarr")
    write_volume(folder / "ct.zarr", ct.with_array((ct.array + 500).astype(np.int16)))
    run(context_of(workspace), QUICK)
    before = json.loads((evaluated / "baselines.json").read_text())
    after = json.loads((workspace / "artefacts/evaluation/baselines.json").read_text())
    assert after["mr_fold0"] == before["mr_fold0"]  # HN-01 is its test patient
    assert after["mr_fold1"] != before["mr_fold1"]


def test_a_second_run_predicts_nothing_and_leaves_the_same_bytes(
    workspace, context_of, monkeypatch
):
    context = context_of(workspace)
    out = workspace / "artefacts" / "evaluation"
    run(context, QUICK)
    first = content_hash(out)
    monkeypatch.setattr("synthct.tasks.evaluation.predict.predict_scan", None)
    run(context, QUICK)
    assert content_hash(out) == first


def test_another_metric_or_interval_predicts_nothing_again(workspace, context_of, monkeypatch):
    context = context_of(workspace)
    run(context, QUICK)
    monkeypatch.setattr("synthct.tasks.evaluation.predict.predict_scan", None)
    run(context, EvaluationParams(metrics=("me_hu",)))
    monkeypatch.setattr("synthct.tasks.evaluation.score.Scorer", None)
    run(context, EvaluationParams(metrics=("me_hu",), bootstrap_draws=100))


def test_after_a_pull_into_an_empty_store_nothing_is_computed_again(
    workspace, context_of, tmp_path, monkeypatch
):
    run(context_of(workspace), QUICK)
    before = content_hash(workspace / "artefacts" / "evaluation")
    shutil.rmtree(tmp_path / "units")
    for name in ("predict.predict_case", "score.score_case", "fitting.sum_case"):
        monkeypatch.setattr(f"synthct.tasks.evaluation.{name}", None)
    run(context_of(workspace), QUICK)
    assert content_hash(workspace / "artefacts" / "evaluation") == before


def test_two_fresh_runs_leave_the_same_bytes(workspace, context_of, evaluated):
    run(context_of(workspace), PARAMS)
    for name in ("sct.zarr/manifest.json", "scores.json"):
        again = (workspace / "artefacts" / "evaluation" / "TH-02_mr" / name).read_bytes()
        assert again == (evaluated / "TH-02_mr" / name).read_bytes()


def test_a_patient_that_was_trained_on_is_never_tested(workspace):
    path = workspace / "artefacts" / "training" / "folds.json"
    folds = json.loads(path.read_text())
    folds["mr"][0]["validation"] = ["HN-01_mr"]
    path.write_text(json.dumps(folds))
    with pytest.raises(MachineError, match="HN-01_mr is tested by mr_fold0, which was trained on"):
        read_folds(path.parent)


def test_a_network_that_says_it_saw_the_patient_is_not_believed_blind(workspace):
    training = workspace / "artefacts" / "training"
    path = training / "mr_fold1" / "model.json"
    model = json.loads(path.read_text())
    model["validation_cases"] = ["TH-02_mr"]
    path.write_text(json.dumps(model))
    with pytest.raises(MachineError, match="TH-02_mr is tested by mr_fold1, which was trained on"):
        read_folds(training)


def test_a_training_scan_under_another_name_is_never_tested(workspace, context_of):
    registration = workspace / "artefacts" / "registration"
    for name in ("source.zarr", "mask.zarr"):  # HN-01 came in twice, once called TH-01's name
        shutil.rmtree(registration / "HN-02_mr" / name)
        shutil.copytree(registration / "HN-01_mr" / name, registration / "HN-02_mr" / name)
    with pytest.raises(MachineError) as caught:
        run(context_of(workspace), QUICK)
    assert caught.value.code == "test-scan-seen"
    assert "HN-02_mr" in str(caught.value)


def test_what_is_shown_with_the_scores_names_cases_and_checks(evaluated, table):
    result = json.loads((evaluated / "trust.json").read_text())
    assert {row["case"] for row in result["suspects"]}  # untrained networks are not believed
    assert set(result["unlike"]) == {path.parent.name for path in evaluated.glob("*/scores.json")}
    assert result["floor"] == {}
    assert result["uncertainty"]["mr"]["registered"]["coverage"] == {}  # four patients are too few
    checks = json.loads((evaluated / "HN-01_mr" / "scores.json").read_text())["checks"]
    assert [found["check"] for found in checks] == list(PARAMS.checks)
    offsets = values(table, method="registered", reference="source", metric="source_offset_mm")
    assert set(offsets.values()) == {1.5}  # the moved CT lies one row beside its source
    assert values(table, method="model", metric="surrogate_range_p95_mm", reference="truth")


def test_methods_are_ranked_on_the_cases_they_share(summary):
    result = summary["ranking"]["mr"]["truth"]
    assert result["n"] == 4
    assert set(result["corrected"]) == {"model", "constant", "lookup", "unregistered"}
    assert sum(result["first_share"].values()) == pytest.approx(1)


def test_cases_of_a_fold_without_network_are_listed_not_lost(workspace, context_of):
    shutil.rmtree(workspace / "artefacts" / "training" / "mr_fold1")
    run(context_of(workspace), QUICK)
    out = workspace / "artefacts" / "evaluation"
    excluded = json.loads((out / "excluded.json").read_text())
    assert [(row["unit"], row["code"]) for row in excluded] == [
        ("HN-02_mr", "no-network"),
        ("TH-02_mr", "no-network"),
    ]


def test_a_patient_whose_scan_is_blank_is_excluded_and_the_others_are_scored(workspace, context_of):
    folder = workspace / "artefacts" / "registration" / "TH-01_mr"
    source = read_volume(folder / "source.zarr")
    write_volume(folder / "source.zarr", source.with_array(np.zeros_like(source.array)))
    run(context_of(workspace), QUICK)
    out = workspace / "artefacts" / "evaluation"
    excluded = json.loads((out / "excluded.json").read_text())
    assert {row["unit"] for row in excluded} == {"TH-01_mr"}
    assert {row["code"] for row in excluded} == {"intensity-constant"}
    assert not (out / "TH-01_mr").exists()
    assert (out / "HN-01_mr" / "scores.json").is_file()


def test_flips_at_test_time_change_the_prediction(workspace, context_of, evaluated):
    run(context_of(workspace), QUICK.model_copy(update={"tta": True}))
    spread = read_volume(workspace / "artefacts" / "evaluation" / "HN-01_mr" / "sd.zarr").array
    assert spread.max() > 1
    result = json.loads((workspace / "artefacts/evaluation/trust.json").read_text())
    calibration = result["uncertainty"]["mr"]["truth"]["calibration"]
    assert [level for level, _ in calibration["observed"]] == [0.5, 0.6, 0.7, 0.8, 0.9, 0.95]
    folder = workspace / "artefacts" / "evaluation" / "HN-01_mr" / "sct.zarr"
    other = read_volume(evaluated / "HN-01_mr" / "sct.zarr").array
    assert (read_volume(folder).array != other).any()


def test_the_out_names_no_machine(evaluated):
    for path in evaluated.rglob("*.json"):
        assert str(evaluated.parent.parent) not in path.read_text(), path


def test_the_methods_sentence_is_one_whole_line():
    assert (run.__doc__ or "").strip().splitlines()[0].endswith(".")
