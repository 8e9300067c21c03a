"""Source scalings: what each keeps equal between two scans, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest

from synthct.data.errors import DataError
from synthct.tasks.models.description import OWN_SCALINGS, SourceScaling
from synthct.tasks.models.normalise import fit_source
from synthct.tasks.models.scalings import SCALINGS, Piecewise

NAMES = SCALINGS.names()
AIR, MUSCLE, FAT = 15.0, 320.0, 990.0


def test_a_name_that_params_take_unseen_is_registered():
    assert set(SCALINGS.names()) >= OWN_SCALINGS


def limb(fat_share, gain=1.0, seed=0):
    """T1 intensities of a limb: some bone and air, muscle, and a share of fat."""
    rng = np.random.default_rng(seed)
    count = 20_000
    fat = int(fat_share * count)
    parts = (
        rng.normal(AIR, 6, count // 10).clip(0),
        rng.normal(MUSCLE, 25, count - fat),
        rng.normal(FAT, 40, fat),
    )
    return (gain * np.concatenate(parts)).reshape(1, 1, -1)


def fitted(kind, array):
    return fit_source(array, np.ones(array.shape), SourceScaling(kind=kind))


@pytest.mark.parametrize("kind", NAMES)
def test_a_gain_of_the_scanner_does_not_change_what_the_network_sees(kind):
    plain, louder = limb(0.3), limb(0.3, gain=3.7)
    np.testing.assert_allclose(fitted(kind, plain)(plain), fitted(kind, louder)(louder), atol=2e-2)


@pytest.mark.parametrize("kind", NAMES)
def test_brighter_is_never_scaled_to_darker(kind):
    array = limb(0.3)
    rising = fitted(kind, array)(np.linspace(0, 1500, 400))
    assert (np.diff(rising) >= 0).all()


@pytest.mark.parametrize("kind", NAMES)
def test_nearly_the_whole_body_lies_in_the_span_that_the_lookup_table_covers(kind):
    low, high = SCALINGS.get(kind).span
    for share in (0.1, 0.5, 0.8):
        values = fitted(kind, limb(share))(limb(share))
        assert np.mean((values >= low) & (values <= high)) > 0.99


def test_muscle_keeps_its_value_in_lean_and_fat_limbs_by_the_fat_peak_alone():
    seen = {kind: [float(fitted(kind, limb(s))(np.array([MUSCLE]))[0]) for s in (0.15, 0.7)]
            for kind in NAMES}  # fmt: skip
    apart = {kind: abs(lean - fat) for kind, (lean, fat) in seen.items()}
    assert apart["fat_peak"] < 0.02
    assert apart["zscore_in_mask"] > 0.3
    assert apart["landmarks"] > 0.3


def test_the_fat_peak_is_1_and_no_signal_is_minus_1():
    scale = fitted("fat_peak", limb(0.3))
    np.testing.assert_allclose(scale(np.array([0.0, FAT])), [-1, 1], atol=0.02)


def test_without_any_peak_the_upper_percentile_replaces_the_fat_peak():
    dark = np.concatenate([np.zeros(20_000), np.full(150, 1000.0)]).reshape(1, 1, -1)
    np.testing.assert_allclose(fitted("fat_peak", dark)(np.array([0.0, 1000.0])), [-1, 1])


def test_coinciding_landmarks_count_once_and_the_ends_are_extrapolated_linearly():
    padded = np.concatenate([np.zeros(5000), np.linspace(10, 100, 5000)]).reshape(1, 1, -1)
    scale = fitted("landmarks", padded)
    assert isinstance(scale, Piecewise)
    assert np.isfinite(scale(np.array([-10.0, 0.0, 500.0]))).all()
    assert scale(np.array([500.0]))[0] > 1
    assert list(scale.knots) == sorted(set(scale.knots))


@pytest.mark.parametrize("kind", NAMES)
def test_a_constant_scan_is_refused_whatever_the_scaling(kind):
    with pytest.raises(DataError) as caught:
        fitted(kind, np.full((2, 2, 2), 7.0))
    expected = "calibration-impossible" if kind == "two_point" else "intensity-constant"
    assert caught.value.code == expected


def test_an_unknown_scaling_is_reported_with_the_nearest_name():
    with pytest.raises(ValueError, match="fat_peak"):
        SourceScaling(kind="fat_peek")
