from __future__ import annotations

import json
import math

import html5lib
import pytest

from synthct.data.errors import UsageError
from synthct.data.tables import read_table
from synthct.tasks.chain.params import load_params
from synthct.tasks.study.run import run


def rows(out, name):
    return read_table(out / f"{name}.csv")


def studied(context):
    run(context, load_params(context.layout.params_file).study)
    return context.artefact("study")


@pytest.fixture(scope="module")
def done(study_workspace):
    """A whole study and its tables' folder, moved out of the way of the others."""
    context = study_workspace()
    kept = context.layout.workspace.parent / "done"
    studied(context).rename(kept)
    return kept


def test_every_arm_meets_the_control_on_the_same_unseen_patients(done):
    out = done
    effects = rows(out, "effects")
    assert {(row["pairs"], row["arm"]) for row in effects} == {
        (pairs, arm)
        for pairs in ("clean", "off-4mm", "moved")
        for arm in ("replicate-1", "cutout", "norm_loss")
    }
    assert {row["cases"] for row in effects} == {"4"}
    for row in effects:
        gain = float(row["mean"]) - float(row["control"])
        assert float(row["difference"]) == pytest.approx(gain, abs=2e-3)


def test_both_strengths_are_trained_and_one_of_each_fold_counts(done):
    out = done
    trials = [row for row in rows(out, "trials") if row["arm"] == "norm_loss"]
    assert {row["weight"] for row in trials} == {"0.01", "0.1"}
    kept = {(row["pairs"], row["fold"]): row["weight"] for row in trials if row["chosen"] == "1"}
    assert len(kept) == 3 * 2


def test_the_matrix_holds_every_training_and_every_reference(done):
    out = done
    cells = {(row["trained_on"], row["scored_on"]) for row in rows(out, "matrix")}
    assert cells == {(p, r) for p in ("clean", "off-4mm", "moved") for r in ("truth", "registered")}
    assert {row["scored_on"] for row in rows(out, "bias")} == {"truth", "registered"}


def test_arithmetic_of_a_penalty_without_an_extra_pass_is_that_of_none(done):
    out = done
    ratios = {row["arm"]: float(row["flops_ratio"]) for row in rows(out, "effects")}
    assert ratios["cutout"] == pytest.approx(1.0)
    assert ratios["norm_loss"] == pytest.approx(1.0)


def test_the_page_is_valid_says_underpowered_and_calls_nothing_from_outside(done):
    out = done
    text = (out / "index.html").read_text()
    html5lib.HTMLParser(strict=True).parse(text)
    assert text.count("Underpowered") == 3  # four patients can show nothing
    assert "http://" not in text
    assert "https://" not in text


def test_a_repeat_of_the_recipe_is_another_run_and_gives_the_floor(done):
    found = [row for row in rows(done, "effects") if row["pairs"] == "clean"]
    repeat = next(row for row in found if row["arm"] == "replicate-1")
    assert float(repeat["difference"]) != 0
    assert repeat["p"] == repeat["adjusted_p"] == ""
    assert len({row["floor"] for row in found}) == 1
    assert float(found[0]["floor"]) > 0
    assert "the same recipe again" in (done / "index.html").read_text()


def test_what_papers_promise_is_measured_of_every_network(done):
    found = {(row["pairs"], row["metric"]): row for row in rows(done, "outcomes")}
    for name in ("bias_hu", "noise_gain_hu", "int8_hu", "shifted_hu", "bone_missed", "mae_hu_bone"):
        assert math.isfinite(float(found["clean", name]["control"])), name
    assert float(found["clean", "noise_gain_hu"]["control"]) > 0
    assert ("clean", "wrong_hu") not in found  # every target of clean pairs is right
    assert float(found["off-4mm", "wrong_hu"]["control"]) > 0
    # of the two patients that a fold may train on, one is held back for validation
    assert found["off-4mm", "wrong_hu"]["cases"] == "2"


def test_an_arm_is_judged_by_what_its_paper_promises(done):
    text = (done / "index.html").read_text()
    assert text.count("MAE where the training target was wrong") == 2  # not on clean pairs


def test_one_more_arm_trains_that_arm_alone(done, study_workspace):
    before = json.loads((done / "trials" / "units.json").read_text())
    arms = [
        {"name": "cutout", "regularizers": [{"name": "cutout", "weight": 1.0}]},
        {"name": "flood", "regularizers": [{"name": "flooding", "weight": 1.0, "level": 0.01}]},
    ]
    out = studied(study_workspace(arms=arms))
    after = json.loads((out / "trials" / "units.json").read_text())
    kept = {name: unit for name, unit in after.items() if "flood" not in name}
    assert kept == {name: unit for name, unit in before.items() if "norm_loss" not in name}
    assert sum("flood" in name for name in after) == 3 * 2


def test_every_error_of_every_arm_is_reported_before_any_work(study_workspace):
    arms = [
        {"name": "a", "regularizers": [{"name": "cutuot", "weight": 1.0}]},
        {"name": "b", "network": {"name": "unet_plus_plus", "norm": "bach"}},
    ]
    context = study_workspace(arms=arms)
    with pytest.raises(UsageError, match=r"study arm a.*did you mean 'cutout'.*study arm b.*norm"):
        studied(context)
    assert not context.artefact("study").exists()


def test_an_unknown_alignment_is_a_usage_error(study_workspace):
    with pytest.raises(UsageError, match="elastix_im"):
        studied(study_workspace(score_on=["elastix_im"]))
