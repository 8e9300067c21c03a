"""The presets by source parse, fit together and are what their sources say."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.params import load_params
from tasks.training.check import check

PRESETS = Path(__file__).resolve().parents[3] / "presets"


@pytest.mark.parametrize("path", sorted(PRESETS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_preset_is_valid_and_its_parts_fit_together(path):
    check(load_params(path).training)


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
    assert tuned.tuning().of_task("mr").steps == tuned.fine_tune.steps
    assert tuned.tuning().optimizer.learning_rate == tuned.fine_tune.learning_rate
