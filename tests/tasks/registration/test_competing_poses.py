"""Other poses around a rigid result show whether it is wrong."""

import dataclasses

import numpy as np
import pytest
import SimpleITK as sitk

from synthct.tasks.fields.jacobian import DeformationQuality
from synthct.tasks.registration.gate.gate import judge
from synthct.tasks.registration.gate.measures import StepMeasures
from synthct.tasks.registration.gate.params import GateParams
from synthct.tasks.registration.rigid.competing_poses import find_competing_poses
from synthct.tasks.registration.rigid.landscape import Affine
from synthct.tasks.registration.scan_pair import ScanPair

GATE = GateParams()
SEARCH = {"starts": GATE.competing_starts, "near_mm": GATE.competing_near_mm, "seed": 3}


@pytest.fixture(scope="module")
def pair(known):
    return ScanPair(known.fixed, known.moving, known.fixed_body, known.moving_body)


def pose(known, *, turn_deg=0.0, further_mm=0.0):
    """The known shift, turned about the patient's long axis and moved on along x."""
    transform = sitk.Euler3DTransform()
    transform.SetCenter(tuple(reversed(known.fixed.grid.centre_mm)))
    transform.SetRotation(0.0, 0.0, np.deg2rad(turn_deg))
    transform.SetTranslation((5.0 + further_mm, -7.0, 3.0))
    return transform


def verdict(competing):
    """Of a pair whose every other figure is perfect."""
    still = DeformationQuality(0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0)
    poor = StepMeasures(1.05, 0.10, 0.95, 1.0, 0.0, still)
    better = dataclasses.replace(poor, information=1.1, edges=0.2)
    return judge({"identity": poor, "rigid": better, "deformable": better}, {}, GATE, competing)


def test_the_right_pose_is_not_flagged(pair, known):
    found = find_competing_poses(pair, pose(known), **SEARCH)
    assert found.returned == 1.0
    assert found.spread_mm < 5.0
    assert verdict(found).verdict == "pass"


@pytest.mark.parametrize("wrong", [{"turn_deg": 35.0}, {"further_mm": 40.0}, {"turn_deg": -60.0}])
def test_a_rigid_step_that_ended_far_off_fails_whatever_its_own_figures_say(pair, known, wrong):
    found = find_competing_poses(pair, pose(known, **wrong), **SEARCH)
    judged = verdict(found)
    assert judged.verdict == "fail"
    assert "explains the pair better" in judged.reason or "no pose stands out" in judged.reason


def test_a_scan_of_somebody_else_does_not_pass(known, make):
    stranger = make(seed=5)
    pair = ScanPair(known.fixed, stranger.moving, known.fixed_body, stranger.moving_body)
    found = find_competing_poses(pair, pose(known), **SEARCH)
    assert verdict(found).verdict != "pass"


def test_the_same_seed_gives_the_same_figures(pair, known):
    first, second = (find_competing_poses(pair, pose(known), **SEARCH) for _ in range(2))
    assert first == second


def test_an_oblique_pair_is_judged_like_a_straight_one(known):
    """The same scans with both headers turned by 25 degrees about the same axis."""
    turn = sitk.Euler3DTransform()
    turn.SetRotation(np.deg2rad(25.0), 0.0, 0.0)
    from synthct.tasks.fields.geometry import in_fixed_frame

    def turned(volume):
        from synthct.data.itk import from_itk, to_itk

        return from_itk(in_fixed_frame(to_itk(volume), turn), volume.modality)

    names = ("fixed", "moving", "fixed_body", "moving_body")
    pair = ScanPair(**{name: turned(getattr(known, name)) for name in names})
    # x' = T^-1 x for every point, so the known pose becomes T^-1 pose T.
    there = sitk.CompositeTransform([turn.GetInverse(), pose(known), turn])
    assert find_competing_poses(pair, there, **SEARCH).returned == 1.0


def test_affine_says_the_same_as_itk(known):
    transform = pose(known, turn_deg=20.0)
    points = np.random.default_rng(0).normal(size=(5, 3)) * 50
    expected = [transform.TransformPoint(tuple(p[::-1]))[::-1] for p in points]
    np.testing.assert_allclose(Affine.of(transform)(points), expected, atol=1e-9)
