"""Pairs that are not moved are judged by whether another pose fits better."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from synthct.tasks.pipeline.artefacts import CASE, QUALITY
from synthct.tasks.registration.case import register_case
from synthct.tasks.registration.gate.gate import GateParams, judge_delivered
from synthct.tasks.registration.gate.measures import StepMeasures
from synthct.tasks.registration.rigid.competing_poses import CompetingPoses
from tests.tasks.registration.conftest import case_arguments, make_known
from tests.tasks.registration.test_gate import STILL

MEASURED = StepMeasures(1.10, 0.12, 0.93, 1.0, 0.0, STILL)
ALONE = CompetingPoses(
    rigid=1.10, chance=1.05, best=1.0, distance_mm=0.0, returned=1.0, spread_mm=0.5
)


def test_an_aligned_pair_passes_and_is_not_moved(tmp_path):
    pair = make_known(3, mean_mm=0.5, shift_mm=(0.0, 0.0, 0.0))
    gate = {**case_arguments()["gate"], "competing_starts": 0}
    out = tmp_path / "out"
    out.mkdir()
    paths = pair.write(tmp_path / "in")
    register_case(out=out, **paths, **case_arguments(as_delivered=True, gate=gate))
    case, quality = (json.loads((out / name).read_text()) for name in (CASE, QUALITY))
    assert (case["verdict"], quality["step"]) == ("pass", "identity")
    assert quality["truth"]["registered_mm"] == quality["truth"]["unregistered_mm"]
    assert quality["competing_poses"]["returned"] == 1


@pytest.mark.parametrize(
    ("best", "expected"), [(1.105, "pass"), (1.124, "suspect"), (1.18, "fail")]
)
def test_a_pair_delivered_a_centimetre_off_does_not_pass_because_its_bodies_overlap(best, expected):
    """A lower leg gained 24 % of information 6 mm away, a shoulder 81 % 8 mm away."""
    near = replace(ALONE, best=best, distance_mm=6.4)
    found = judge_delivered(MEASURED, GateParams(), near)
    assert (found.step, found.verdict) == ("identity", expected)
    assert ("explains the pair better" in found.reason) == (expected != "pass")


def test_bodies_apart_fail_although_nothing_competes():
    apart = replace(MEASURED, dice=0.4)
    assert judge_delivered(apart, GateParams(), ALONE).verdict == "fail"
