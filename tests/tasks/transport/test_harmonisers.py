"""Harmonisers: what a scanner changed is undone, and what a patient has is left alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthct.data.errors import DataError, UsageError
from synthct.tasks.models.description import OWN_HARMONISERS, Harmonise, SourceScaling
from synthct.tasks.models.normalise import fit_source, scaling_modules
from synthct.tasks.transport.harmonisers import HARMONISERS, fit_curve
from synthct.tasks.transport.laws import ATOMS, Curve, distance, law_of, mean_law

NAMES = HARMONISERS.names()
MUSCLE, FAT = -0.5, 1.5


def limb(fat_share=0.3, seed=0):
    """Scaled intensities of a limb: muscle, and a share of fat."""
    random = np.random.default_rng(seed)
    fat = int(4000 * fat_share)
    return np.concatenate([random.normal(MUSCLE, 0.2, 4000 - fat), random.normal(FAT, 0.25, fat)])


def other_scanner(values):
    """A bent, rising response."""
    return values + 0.25 * np.sin(1.3 * values) + 0.1


def fitted(name, scan, reference, **options):
    return fit_curve(name, options, law_of(scan), law_of(reference))


def test_a_name_that_params_take_unseen_is_registered():
    assert set(NAMES) == OWN_HARMONISERS


@pytest.mark.parametrize("name", NAMES)
def test_the_response_of_another_scanner_stays(name):
    reference, scan = limb(seed=1), other_scanner(limb())
    curve = fitted(name, scan, reference)
    assert distance(law_of(curve(scan)), law_of(reference)) < 0.4 * distance(
        law_of(scan), law_of(reference)
    )
    for tissue in (MUSCLE, FAT):
        moved = curve(np.array([other_scanner(tissue)]))[0]
        assert abs(moved - tissue) < 0.5 * abs(other_scanner(tissue) - tissue)


@pytest.mark.parametrize("name", NAMES)
def test_a_scan_that_has_the_law_already_is_changed(name):
    scan = limb()
    np.testing.assert_allclose(fitted(name, scan, scan)(scan), scan, atol=0.03)


@pytest.mark.parametrize("name", NAMES)
def test_brighter_becomes_darker(name):
    curve = fitted(name, other_scanner(limb(0.6)), limb(seed=1))
    assert (np.diff(curve(np.linspace(-4, 4, 200))) >= 0).all()


def test_fat_beyond_the_field_of_view_moves_the_muscle_by_the_partial_harmoniser():
    """The same scanner, but the scan shows 5 % fat where the reference has 30 %."""
    muscle = np.linspace(MUSCLE - 0.3, MUSCLE + 0.3, 50)
    moved = {
        name: np.abs(fitted(name, limb(0.05), limb(0.3, seed=1))(muscle) - muscle).max()
        for name in ("partial", "quantile")
    }
    assert moved["partial"] < 0.15
    assert moved["quantile"] > 0.5


@given(st.integers(0, 1000), st.floats(0.2, 5), st.floats(-3, 3))
@settings(max_examples=20, deadline=None)
def test_the_quantile_map_misses_the_law_or_another_unit_changes_it(seed, gain, offset):
    random = np.random.default_rng(seed)
    scan, reference = law_of(random.normal(size=500)), law_of(random.gamma(2.0, size=500))
    curve = fit_curve("quantile", {}, scan, reference)
    np.testing.assert_allclose(curve(np.asarray(scan)), reference, atol=1e-5)
    louder = tuple(gain * np.asarray(scan) + offset)
    again = fit_curve("quantile", {}, louder, reference)
    np.testing.assert_allclose(again(np.asarray(louder)), reference, atol=1e-4)


def test_the_mean_of_two_laws_lies_elsewhere_than_half_way():
    np.testing.assert_allclose(mean_law([law_of([1.0]), law_of([3.0])]), [2.0] * ATOMS)
    assert distance(law_of([1.0]), law_of([3.0])) == 2.0


def test_values_at_one_place_make_a_jump_and_the_ends_are_bent():
    curve = Curve.through(np.array([0.0, 0.0, 1.0]), np.array([1.0, 3.0, 4.0]))
    np.testing.assert_allclose(curve(np.array([-1.0, 0.0, 0.5, 1.0, 3.0])), [1, 2, 3, 4, 6])


@pytest.mark.parametrize("name", NAMES)
def test_a_scan_of_one_intensity_is_spread_over_a_law(name):
    flat = np.concatenate([np.zeros(700), np.linspace(0.1, 1, 300)])
    with pytest.raises(DataError, match="one single intensity") as caught:
        fitted(name, flat, limb())
    assert caught.value.code == "law-unmappable"


def test_a_scan_that_shares_nothing_with_the_reference_is_mapped_by_the_partial_harmoniser():
    with pytest.raises(DataError, match="only 0% of the body has intensities like") as caught:
        fitted("partial", limb() + 9, limb())
    assert caught.value.code == "law-unmappable"


def test_a_curve_that_falls_is_used(monkeypatch):
    falling = Curve((0.0, 1.0), (1.0, 0.0))
    monkeypatch.setattr(HARMONISERS.get("quantile"), "fit", lambda *_: falling)
    with pytest.raises(DataError, match="brighter tissue to a darker value"):
        fitted("quantile", limb(), limb())


@pytest.mark.parametrize(
    ("name", "options"),
    [("partial", {"reach": 0.0}), ("partial", {"smallest_share": 2.0}), ("monge", {"knots": 1}),
     ("monge", {"weight": -1.0})],
)  # fmt: skip
def test_an_option_that_cannot_be_is_taken(name, options):
    with pytest.raises(UsageError):
        fitted(name, limb(), limb(), **options)


def scaling(name, law=None):
    return SourceScaling(harmonise=Harmonise(name=name, law=law))


def test_the_scaling_does_not_end_with_the_reference_law():
    reference = law_of(limb())
    scan = other_scanner(limb(seed=3)).reshape(1, 1, -1) * 40 + 200
    transform = fit_source(scan, np.ones(scan.shape), scaling("quantile", reference))
    assert distance(law_of(transform(scan)), reference) < 0.01


def test_a_scan_is_harmonised_to_no_law():
    with pytest.raises(UsageError, match="names no law") as caught:
        fit_source(limb().reshape(1, 1, -1), np.ones((1, 1, 4000)), scaling("quantile"))
    assert caught.value.code == "law-missing"


def test_another_harmoniser_leaves_the_key_of_a_unit_as_it_was():
    assert scaling_modules(SourceScaling()) == ("synthct.tasks.models.scalings.moments",)
    assert "synthct.tasks.transport.harmonisers.partial" in scaling_modules(scaling("partial"))


def test_a_misspelt_harmoniser_or_a_law_that_falls_is_taken():
    with pytest.raises(ValueError, match="quantile"):
        Harmonise(name="quantil")
    with pytest.raises(ValueError, match="quantiles do not fall"):
        Harmonise(name="quantile", law=tuple(range(ATOMS, 0, -1)))
