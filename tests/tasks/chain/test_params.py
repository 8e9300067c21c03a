"""Params: all errors at once, in one line, before any work."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from synthct.data.errors import UsageError
from synthct.tasks.chain.params import load_params, parse_params, resolved

ROOT = Path(__file__).resolve().parents[3]


def test_one_fault_hides_the_others():
    text = "dataset: Demo!\nseed: -1\ntrainin: {}\nregistration: {grid_spacing_mm: [1, 0, 1]}\n"
    with pytest.raises(UsageError) as caught:
        parse_params(text, where="params.yaml")
    message = str(caught.value)
    assert "\n" not in message
    for key in ("dataset", "seed", "trainin", "registration.grid_spacing_mm.1"):
        assert key in message, key
    assert message.startswith("params.yaml: ")


@pytest.mark.parametrize(
    ("text", "suggestion"),
    [
        ("dataset: demo\ntrainin: {}", "trainin: no such key (did you mean 'training'?)"),
        (
            "dataset: demo\ntraining: {optimizer: {learning_rat: 1}}",
            "training.optimizer.learning_rat: no such key (did you mean 'learning_rate'?)",
        ),
        (
            "dataset: demo\nregistration: {grid_spacing: [1, 1, 1]}",
            "registration.grid_spacing: no such key (did you mean 'grid_spacing_mm'?)",
        ),
    ],
)
def test_an_unknown_key_is_ignored(text, suggestion):
    with pytest.raises(UsageError, match="params are not valid") as caught:
        parse_params(text, where="params.yaml")
    assert suggestion in str(caught.value)


def test_a_number_in_quotes_is_taken_for_a_number():
    with pytest.raises(UsageError, match="seed"):
        parse_params("dataset: demo\nseed: '12'", where="params.yaml")


def test_yaml_that_is_none_is_a_traceback():
    with pytest.raises(UsageError, match="params are YAML"):
        parse_params("dataset: [demo", where="params.yaml")


def test_a_missing_file_is_a_traceback(tmp_path):
    with pytest.raises(UsageError, match=r"there is no params\.yaml"):
        load_params(tmp_path / "params.yaml")


def test_writing_the_defaults_out_changes_the_params():
    params = load_params(ROOT / "params.yaml")
    assert parse_params(resolved(params), where="resolved") == params


def test_dvc_is_asked_for_a_key_that_params_yaml_does_not_have():
    written = yaml.safe_load((ROOT / "params.yaml").read_text())
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    for entry in stages.values():
        assert {key for key in entry["params"] if isinstance(key, str)} <= set(written)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("training: {start_from: pretraining}", "needs a section pretraining"),
        (
            "training: {start_from: pretraining}\npretraining: {network: {name: unet_3d}}",
            "leave out pretraining.network",
        ),
        ("pretraining: {}\nstudy: {arms: [{name: one}]}", "a study trains from random weights"),
        ("pretraining: {objectives: [{name: tico}, {name: tico}]}", "tico is listed twice"),
        ("pretraining: {objectives: [{name: tico, weight: 0}]}", "at least one of weight above 0"),
    ],
)
def test_pretraining_without_a_use_is_taken(text, message):
    with pytest.raises(UsageError) as caught:
        parse_params(f"dataset: demo\n{text}", where="params.yaml")
    assert message in str(caught.value)
