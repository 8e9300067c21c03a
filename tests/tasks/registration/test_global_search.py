"""The global search finds poses that the usual starts do not reach."""

import dataclasses

import numpy as np
import pytest
import SimpleITK as sitk

from synthct.data.itk import from_itk, to_itk
from synthct.tasks.fields.geometry import in_fixed_frame, working_grid
from synthct.tasks.registration.gate.params import GateParams
from synthct.tasks.registration.methods import METHODS
from synthct.tasks.registration.register import register
from synthct.tasks.registration.rigid.global_search import find_pose
from synthct.tasks.registration.rigid.landscape import Affine
from synthct.tasks.registration.scan_pair import ScanPair

SHIFT_MM = (60.0, -70.0, 40.0)
"""100 mm, (x, y, z)."""


def wrong(turn_deg):
    transform = sitk.Euler3DTransform()
    transform.SetRotation(*np.deg2rad(turn_deg))
    transform.SetTranslation(SHIFT_MM)
    return transform


def misplaced(known, by):
    """The pair with the CT in a scanner's frame that is ``by`` off."""
    moving = (known.moving, known.moving_body)
    scan, body = (from_itk(in_fixed_frame(to_itk(v), by), v.modality) for v in moving)
    return ScanPair(known.fixed, scan, known.fixed_body, body)


def error_mm(found, pair, known, by):
    """Mean over the body, against the known displacement."""
    index = np.argwhere(known.fixed_body.array > 0)[::97]
    points = pair.fixed.grid.points(index)
    right = points + known.truth.vectors[:, *index.T].T
    back = Affine.of(by.GetInverse())(right)
    there = np.array([found.TransformPoint(p[::-1].tolist())[::-1] for p in points])
    return np.linalg.norm(there - back, axis=1).mean()


@pytest.mark.slow
@pytest.mark.parametrize("turn_deg", [(35, 0, 0), (0, 0, -35), (20, -20, 20)])
def test_a_start_35_degrees_and_100_mm_off_is_found(known, turn_deg):
    by = wrong(turn_deg)
    pair = misplaced(known, by)
    found, information = find_pose(pair, seed=0)
    assert information > 1.0
    assert error_mm(found, pair, known, by) < 10.0  # before the rigid step refines it


def test_a_pair_that_fails_is_solved_from_a_searched_start_or_reported_as_failed(known, quick):
    by = wrong((35, 0, 0))
    pair = misplaced(known, by)
    grid = working_grid(pair.fixed_body, (5.0, 5.0, 5.0), 10.0)
    method = METHODS.build("mi", {"factors": [2], "iterations": [5]})
    for search in (False, True):
        gate = GateParams(search_globally=search)
        done = register(pair, grid, quick, gate, method, seed=0, tell=lambda step: None)
        wrong_mm = error_mm(done.transform, pair, known, by)
        assert wrong_mm < 8.0 or done.judgement.verdict != "pass"
    assert wrong_mm < 8.0
    assert dataclasses.asdict(done.judgement)["verdict"] != "fail"
