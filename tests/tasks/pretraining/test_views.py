"""Views: deterministic, of one place, and changed as scanners differ."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthct.data.volume import Modality
from synthct.tasks.models.description import SourceScaling
from synthct.tasks.pretraining.params import ViewParams
from synthct.tasks.pretraining.scans import open_scan
from synthct.tasks.pretraining.views import ViewSampler, blocks, changed, curve
from synthct.tasks.training.patches import PatchShape
from tests.tasks.pretraining.conftest import SPACING_MM

UNCHANGED = ViewParams(contrast=0, other_contrast=0, shading=0, noise=0, blur_voxels=0)


@pytest.fixture
def opened(stored, tmp_path):
    def make(name, kind="zscore_in_mask"):
        return open_scan(
            name, stored / f"{name}.zarr", stored / f"{name}_body.zarr", spacing_mm=SPACING_MM,
            scaling=SourceScaling(kind=kind), scratch=tmp_path, seed=1,
        )  # fmt: skip

    return make


@pytest.fixture
def scans(opened):
    return [opened(f"{patient}/{name}") for patient in "ab" for name in ("mr", "ct")]


def sampler(scans, params=UNCHANGED, shape=((16, 16), 3), size=4):
    return ViewSampler(scans, PatchShape(*shape), params, size, 12, seed=5)


def test_a_scan_is_not_scaled_to_its_body(opened):
    scan = opened("a/mr", "min_p99.5")
    inside = scan.array[scan.body > 0]
    assert inside.mean() == pytest.approx(0, abs=1e-3)
    assert inside.std() == pytest.approx(1, abs=1e-3)
    assert abs(scan.mean) < 1
    assert 0 < scan.sd < 1  # in network units, where the body spans [-1, 1]
    again = opened("a/mr", "min_p99.5")
    assert np.array_equal(scan.array, again.array)
    assert np.array_equal(scan.places, again.places)


@pytest.mark.parametrize("shape", [((16, 16), 3), ((8, 16, 16), 1)], ids=["2.5d", "3d"])
def test_the_two_views_show_other_places(scans, shape):
    """Unchanged views have the same values at places and partners, though cut elsewhere."""
    made = sampler(scans, shape=shape)
    assert not np.array_equal(made.batch(0).first, made.batch(0).second)
    for number in range(3):
        views = made.batch(number)
        middle = shape[1] // 2
        for k in range(4):
            there = tuple(views.places[k].T)
            partner = tuple(views.partners[k].T)
            a, b = views.first[k, middle][there], views.second[k, middle][partner]
            assert np.array_equal(a, b)
            assert (views.hidden[k, 0][tuple(views.hidden_places[k].T)] == 1).all()


def test_a_batch_depends_on_what_was_drawn_before(scans):
    params = ViewParams()
    later = sampler(scans, params).batch(7)
    one = sampler(scans, params)
    for number in (3, 7):
        found = one.batch(number)
    assert np.array_equal(found.first, later.first)
    assert np.array_equal(found.places, later.places)
    assert not np.array_equal(found.first, one.batch(8).first)


def test_a_modality_with_few_scans_is_hardly_seen(scans):
    """One MR beside many CTs is half of every batch: an MR's lowest value is its air."""
    lows = {scan.modality: float(scan.array.min()) for scan in scans}
    assert lows[Modality.CT] != lows[Modality.MR]
    few = [scan for scan in scans if scan.name != "a/mr"]
    counts = []
    made = sampler(few * 1)
    draw = made._sample
    object.__setattr__(made, "_sample", lambda kind, rng: counts.append(kind) or draw(kind, rng))
    made.batch(0)
    assert counts.count(Modality.MR) == counts.count(Modality.CT) == 2


@given(seed=st.integers(0, 10**6), other=st.booleans())
@settings(max_examples=40, deadline=None)
def test_air_is_not_darkest_or_leaves_the_range(seed, other):
    knots = np.array([-4.0, -1.0, 0.0, 0.1, 0.2, 3.0])
    params = ViewParams(contrast=0.8, other_contrast=float(other))
    values = curve(knots, params, np.random.default_rng(seed))
    assert values[0] == knots[0]
    assert values.min() == knots[0]
    assert values.max() <= knots[-1] + 1e-9
    if not other:
        assert (np.diff(values) > 0).all()
        assert values[-1] == pytest.approx(knots[-1])


@given(seed=st.integers(0, 10**6), side=st.integers(1, 9), fraction=st.floats(0.05, 0.95))
@settings(max_examples=40, deadline=None)
def test_nothing_or_everything_is_hidden(seed, side, fraction):
    hidden = blocks((10, 12), side, fraction, np.random.default_rng(seed))
    assert hidden.shape == (10, 12)
    assert hidden.mean() > 0
    assert hidden.mean() < 1 or side > 9


def test_a_ct_is_shaded_as_a_coil_or_scatter_would(scans):
    """Shading leaves a CT alone, scales an MR about its air, and adds to all of a CBCT."""
    params = UNCHANGED.model_copy(update={"shading": 0.5})
    by = {scan.modality: scan for scan in scans}

    def shaded(scan):
        return changed(np.full((4, 8, 8), scan.knots[0] + 1.0), scan, params, rng()) - scan.knots[0]

    rng = lambda: np.random.default_rng(2)  # noqa: E731
    air = np.full((4, 8, 8), by[Modality.MR].knots[0], np.float32)
    assert np.allclose(shaded(by[Modality.CT]), 1)
    assert shaded(by[Modality.MR]).std() > 0.01
    assert np.allclose(changed(air, by[Modality.MR], params, rng()), air, atol=1e-5)


def test_the_noise_of_an_mr_makes_air_negative(scans):
    """The magnitude of a complex signal: never below air, and on average above it."""
    params = UNCHANGED.model_copy(update={"noise": 1.0})
    mr = next(scan for scan in scans if scan.modality is Modality.MR)
    air = np.full((8, 8, 8), mr.knots[0], np.float32)
    noisy = changed(air, mr, params, np.random.default_rng(1))
    assert (noisy >= air - 1e-6).all()
    assert noisy.mean() > air.mean() + 1e-3
