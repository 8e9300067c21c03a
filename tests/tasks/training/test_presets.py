"""The presets by source parse, fit together and are what their sources say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from synthct.data.errors import UsageError
from synthct.data.tables import read_table
from synthct.tasks.chain.params import load_params
from synthct.tasks.intake.pseudonym import Pseudonyms
from synthct.tasks.study.run import check as check_study
from synthct.tasks.training.check import check

PRESETS = Path(__file__).resolve().parents[3] / "presets"


@pytest.mark.parametrize("path", sorted(PRESETS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_preset_is_valid_and_its_parts_fit_together(path):
    params = load_params(path)
    check(params.training)
    if params.study is not None:
        check_study(params.training, params.study)


def test_the_study_for_gpus_compares_the_same_arms_as_the_one_for_two_cores_at_tuned_strengths():
    small, large = (load_params(PRESETS / f"{name}.yaml").study for name in ("study", "study_gpu"))
    assert [arm.name for arm in large.arms] == [arm.name for arm in small.arms]
    assert [pairs.misregistration_mm for pairs in large.pairs] == [0, 2, 5, 10]
    assert len(large.seeds) == 3
    own = {arm.name: arm.regularizers[-1].weight for arm in small.arms if arm.regularizers}
    tuned = {arm.name: arm.weights for arm in large.arms if arm.weights}
    assert all(own[name] in weights and len(weights) == 3 for name, weights in tuned.items())
    assert set(own) - set(tuned) == {"flooding", "hoag"}  # a level, and one that tunes itself


@pytest.mark.parametrize("preset", ["study", "study_gpu", "recipe", "bias", "axes"])
def test_an_arm_is_looked_up_in_vain_by_the_name_that_the_study_reports(preset):
    """An arm that adds one regularizer or one loss is called what `synthct regularizers` lists."""
    for arm in load_params(PRESETS / f"{preset}.yaml").study.arms:
        losses = [loss.name for loss in arm.losses or () if loss.name != "l1"]
        members = [member.name for member in arm.regularizers or ()] + losses
        if len(members) == 1:
            assert arm.name == members[0]


def training(name):
    return load_params(PRESETS / f"{name}.yaml").training


def test_the_papers_text_and_its_configurations_differ_where_they_do():
    text, configured = training("synthrad_paper"), training("synthrad_configs")
    assert (text.optimizer.halving, configured.optimizer.halving) == (0.5, 0.75)
    same = {"optimizer": text.optimizer}
    assert configured.model_copy(update=same) == text
    assert [loss.name for loss in text.losses] == ["l1", "impact_synth"]


def test_fine_tuning_goes_on_from_the_papers_joint_networks():
    tuned = training("synthrad_fine_tune")
    assert tuned.fine_tune is not None
    assert tuned.model_copy(update={"fine_tune": None}) == training("synthrad_paper")
    assert tuned.tuning().of_source("mr").steps == tuned.fine_tune.steps
    assert tuned.tuning().optimizer.learning_rate == tuned.fine_tune.learning_rate


def test_a_strength_to_try_that_cannot_be_is_reported_before_any_work():
    params = load_params(PRESETS / "study.yaml")
    cutout = next(arm for arm in params.study.arms if arm.name == "cutout")
    much = cutout.model_copy(update={"weights": (0.5, 7.0)})
    study = params.study.model_copy(update={"arms": (much,)})
    with pytest.raises(UsageError, match=r"study arm cutout, weight 7"):
        check_study(params.training, study)


def test_real_and_digital_patients_are_ranked_by_other_arms():
    real, digital = (
        load_params(PRESETS / f"sts51_{name}.yaml") for name in ("ablation", "digital")
    )
    assert real.study == digital.study
    alike = {"patients", "folds", "test_patients"}
    assert real.training.model_dump(exclude=alike) == digital.training.model_dump(exclude=alike)


def test_the_real_patients_folds_are_those_of_the_file_by_name():
    rows = read_table(PRESETS / "sts51_folds.csv")
    key = re.search(r"SYNTHCT_PSEUDONYM_KEY := (\S+)", (PRESETS.parent / "Makefile").read_text())
    names = Pseudonyms(key[1].encode())
    assert [row["patient"] for row in rows] == [names.patient(row["name"]) for row in rows]
    for preset in ("sts51", "sts51_gpu", "sts51_short", "sts51_ablation"):
        folds = training(preset).test_patients
        assert {name: str(number) for number, fold in enumerate(folds) for name in fold} == {
            row["patient"]: row["fold"] for row in rows
        }
    for site in {row["site"] for row in rows}:
        counts = [
            sum((row["site"], row["fold"]) == (site, str(n)) for row in rows) for n in range(5)
        ]
        assert max(counts) - min(counts) <= 1
