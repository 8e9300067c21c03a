"""Calibration without a CT depends on the patient alone: not on gain, fill value, couch, skull."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from synthct.data.errors import DataError
from synthct.data.readers import read_scan
from synthct.tasks.ingestion.check import check_volume
from synthct.tasks.ingestion.params import IngestionParams
from synthct.tasks.models.calibration import Calibration, calibrate
from synthct.tasks.models.description import SourceScaling
from synthct.tasks.models.normalise import scale_source

TWO_POINT = SourceScaling(kind="two_point")
SHAPE = (12, 72, 72)


def head(*, skull=0.25, fat=0.1, gas=0.02, noise_hu=25.0, cup_hu=0.0, seed=0):
    """HU and body mask of a disc of soft tissue with shares of bone, fat and gas, in air."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:72, :72]
    radius = np.hypot(y - 36, x - 36) / 28
    body = np.broadcast_to(radius < 1, SHAPE)
    hu = np.full(SHAPE, -1000.0)
    hu[body] = 40
    # Rings from the outside in, by area.
    edges = np.sqrt(1 - np.cumsum([fat, skull]))
    hu[body & (radius > edges[0])] = -100
    ring = body & (radius <= edges[0]) & (radius > edges[1])
    hu[ring] = rng.uniform(300, 1500, np.count_nonzero(ring))
    hu[body & (radius < np.sqrt(gas))] = -995
    hu = hu + cup_hu * (radius**2 - 0.5) * body
    return hu + rng.normal(0, noise_hu, SHAPE), body


def error_hu(array, body, shown):
    """Largest error of the calibration at air, fat and soft tissue; ``shown`` maps HU to array."""
    found = calibrate(array, body)
    return max(abs(float(found.hu(np.array([shown(hu)]))[0]) - hu) for hu in (-1000, -100, 40))


def test_values_by_hand():
    found = Calibration(air=-900.0, soft=140.0)
    assert found.gain == 1.0
    assert found.at_soft_hu == -100.0
    np.testing.assert_allclose(found.hu(np.array([-900, 140, 660])), [-1000, 40, 560])
    assert Calibration(air=0.0, soft=520.0).gain == 2.0
    assert "soft tissue lies at 140 and air at -900" in found.sentence


def test_a_scan_without_noise_is_found_exactly():
    hu, body = head(noise_hu=0)
    assert error_hu(hu, body, lambda v: v) < 0.5


@settings(max_examples=25, deadline=None)
@given(
    gain=st.floats(0.2, 5.0),
    offset=st.floats(-3000, 3000),
    fill=st.sampled_from([None, "below", "air", "tissue"]),
    seed=st.integers(0, 5),
)
def test_gain_offset_and_fill_value_are_undone(gain, offset, fill, seed):
    hu, body = head(seed=seed)
    array = gain * hu + offset
    if fill:
        y, x = np.mgrid[:72, :72]
        level = {"below": -2500.0, "air": -1000.0, "tissue": 0.0}[fill]
        array[:, np.hypot(y - 36, x - 36) > 32] = gain * level + offset
    assert error_hu(array, body, lambda v: gain * v + offset) < 12


@pytest.mark.parametrize("skull", [0.05, 0.3, 0.5, 0.6])
def test_more_skull_in_view_does_not_move_soft_tissue(skull):
    hu, body = head(skull=skull)
    assert error_hu(hu, body, lambda v: v) < 12


@pytest.mark.parametrize("fat", [0.05, 0.3, 0.5])
def test_fat_is_not_taken_for_soft_tissue(fat):
    hu, body = head(fat=fat, skull=0.1)
    assert error_hu(hu, body, lambda v: v) < 15


def test_lungs_are_not_taken_for_air_or_soft_tissue():
    hu, body = head(skull=0.08)
    rng = np.random.default_rng(1)
    y, x = np.mgrid[:72, :72]
    lung = body & (np.hypot(y - 36, x - 36) < 19)  # almost half of the body
    hu[lung] = -790 + rng.normal(0, 60, np.count_nonzero(lung))
    assert error_hu(hu, body, lambda v: v) < 12


@pytest.mark.parametrize("noise_hu", [60.0, 100.0])
def test_noise_does_not_move_it(noise_hu):
    hu, body = head(noise_hu=noise_hu)
    assert error_hu(hu, body, lambda v: v) < 25


def test_cupping_moves_it_by_less_than_its_own_size():
    hu, body = head(cup_hu=120)
    assert error_hu(hu, body, lambda v: v) < 60


def test_a_couch_beside_the_body_is_not_air():
    hu, body = head()
    hu[:, 66:70] = -250 + np.random.default_rng(2).normal(0, 25, hu[:, 66:70].shape)
    assert error_hu(hu, body, lambda v: v) < 12


def test_a_body_that_fills_the_box_is_calibrated_by_its_gas():
    hu, body = head(gas=0.05)
    part = (slice(None), slice(20, 52), slice(20, 52))
    assert body[part].all()
    assert error_hu(hu[part], body[part], lambda v: v) < 40


def test_air_that_the_scanner_clips_is_air():
    hu, body = head()
    clipped = np.maximum(hu, -1000)
    found = calibrate(clipped, body)
    assert abs(found.air + 1000) < 25
    flat = np.where(body, hu, -1000)
    assert calibrate(flat, body).air == -1000


def test_a_scan_without_air_is_an_error_not_a_guess():
    hu = 40 + np.random.default_rng(0).normal(0, 20, SHAPE)
    with pytest.raises(DataError, match="no air is in view") as caught:
        calibrate(hu, np.ones(SHAPE, bool))
    assert caught.value.code == "calibration-impossible"


def test_the_absolute_number_survives_in_network_units():
    """With a percentile per scan soft tissue lay anywhere; here it lies where 40 HU lies."""
    wanted = 2 * (40 + 1024) / 4095 - 1
    for skull, gain, offset in ((0.05, 1.0, 0.0), (0.5, 0.8, -150.0), (0.3, 1.3, 400.0)):
        hu, body = head(skull=skull)
        scaled = scale_source(gain * hu + offset, body, TWO_POINT)
        y, x = np.mgrid[:72, :72]
        soft = body & (np.abs(hu - 40) < 60) & (np.hypot(y - 36, x - 36) < 18)
        assert float(np.median(scaled[soft])) == pytest.approx(wanted, abs=0.006)
        assert scaled.min() >= -1
        assert scaled.max() <= 1


@pytest.mark.slow
def test_a_real_cone_beam_scan_of_a_phantom_is_calibrated(shared_data):
    """CatPhan 504: its body (about 50 HU in the vendor's data) is near there already."""
    scan = read_scan(shared_data / "catphan_cbct" / "High_quality_head.zip")
    checked = check_volume(scan, "other", IngestionParams())
    inner = (slice(20, 44), slice(None), slice(None))
    array, mask = checked.volume.array[inner], checked.mask.array[inner]
    found = calibrate(array, mask)
    assert -1010 < found.air < -980
    assert 0 < found.soft < 120
    distorted = calibrate(0.9 * array + 70, mask)
    assert distorted.soft == pytest.approx(0.9 * found.soft + 70, abs=3)
    assert distorted.air == pytest.approx(0.9 * found.air + 70, abs=3)
