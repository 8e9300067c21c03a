"""Differences between sources are in their recipes, and only there."""

from __future__ import annotations

from synthct.tasks.training.params import TrainingParams


def test_one_sources_number_of_steps_is_used_for_the_other():
    params = TrainingParams.model_validate_json(
        '{"steps": 500, "mr": {"patch_size": [64, 64], "steps": 1000}}'
    )
    assert params.of_source("mr").steps == 1000
    assert params.of_source("cbct").steps == 500
