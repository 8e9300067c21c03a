"""The forecast is measured, and grows with what is asked for."""

from __future__ import annotations

import pytest
import torch

from synthct.tasks.training.params import TrainingParams
from synthct.tasks.training.probe import OVERHEAD, Probed, probe


def small(**changes):
    recipe = {"mr": {"patch_size": [32, 32]}, "steps": 100, "batch": 1, "folds": 4}
    network = {"name": "unet_plus_plus", "width": 4, "stem_stride": 1, "norm": "instance"}
    return TrainingParams.from_json({**recipe, "network": network, "sources": ["mr"], **changes})


def test_a_forecast_that_ignores_the_size_of_a_step_would_promise_an_hour_for_a_night():
    little, much = (probe(small(batch=batch), "mr", 2) for batch in (1, 8))
    assert 0 < little.step_s < much.step_s
    assert (little.networks, little.steps, little.workers) == (4, 100, 2)


def test_rounds_are_counted_whole_because_the_last_network_runs_alone():
    told = Probed("mr", step_s=0.5, networks=5, steps=7200, workers=2)
    assert told.hours == pytest.approx(3 * OVERHEAD)
    assert "5 networks of 7200 steps, 2 at a time" in told.sentence()


def test_measuring_changes_neither_the_global_random_numbers_nor_the_threads():
    torch.manual_seed(3)
    expected, threads = torch.rand(1), torch.get_num_threads()
    torch.manual_seed(3)
    probe(small(), "mr", 1)
    assert torch.equal(torch.rand(1), expected)
    assert torch.get_num_threads() == threads


def test_named_folds_are_counted_as_they_are_named():
    named = small(test_patients=[["a"], ["b"], ["c"]])
    assert probe(named, "mr", 8).networks == 3
