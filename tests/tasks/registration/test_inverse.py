import numpy as np
import pytest
import SimpleITK as sitk

from synthct.tasks.fields.geometry import working_grid
from synthct.tasks.registration.inverse import carried, register_back, round_trip
from synthct.tasks.registration.methods import METHODS
from synthct.tasks.registration.scan_pair import ScanPair


@pytest.fixture(scope="module")
def pair(known):
    return ScanPair(known.fixed, known.moving, known.fixed_body, known.moving_body)


def test_a_transform_followed_by_its_inverse_is_the_identity(pair):
    there = sitk.Euler3DTransform()
    there.SetRotation(0.1, -0.2, 0.05)
    there.SetTranslation((5.0, 2.0, -1.0))
    found = round_trip(pair, there, there.GetInverse(), seed=0)
    assert found.p95_mm == pytest.approx(0.0, abs=1e-9)


def test_a_known_miss_is_measured_in_mm(pair):
    there = sitk.TranslationTransform(3, (5.0, 0.0, 0.0))
    back = sitk.TranslationTransform(3, (-5.0, 3.0, 4.0))
    found = round_trip(pair, there, back, seed=0)
    assert (found.mean_mm, found.p95_mm) == pytest.approx((5.0, 5.0))


def test_nothing_is_reported_where_no_point_lands_in_the_moving_scan(pair):
    away = sitk.TranslationTransform(3, (5000.0, 0.0, 0.0))
    assert round_trip(pair, away, away.GetInverse(), seed=0) is None


def test_points_are_carried_in_our_order():
    shift = sitk.TranslationTransform(3, (1.0, 2.0, 3.0))
    np.testing.assert_allclose(carried(shift, np.zeros((1, 3))), [[3.0, 2.0, 1.0]])


def test_a_second_registration_tells_a_right_transform_from_a_wrong_one(pair, quick):
    """The way back knows nothing of the way there."""
    grid = working_grid(pair.fixed_body, (5.0, 4.0, 4.0), 12.0)
    right = sitk.TranslationTransform(3, (5.0, -7.0, 3.0))
    wrong = sitk.TranslationTransform(3, (45.0, -7.0, 3.0))
    method = METHODS.build("mi", {"factors": [4], "iterations": [1]})
    found = [
        register_back(pair, grid, there, quick, method, seed=1, threads=1)
        for there in (right, wrong)
    ]
    assert found[0].mean_mm < 12.0
    assert found[1].mean_mm > 30.0
