"""Naive baselines do what their names say, so that beating them means something."""

from __future__ import annotations

import numpy as np
import pytest

from synthct.tasks.evaluation.baselines import BASELINES
from synthct.tasks.evaluation.fitting import baselines_for
from synthct.tasks.evaluation.naive import TrainingImages, UnseenImages
from synthct.tasks.models.description import SourceScaling

ZSCORE, PERCENTILE = SourceScaling(kind="zscore_in_mask"), SourceScaling(kind="min_p99.5")


def training(source, ct, mask=None, scaling=ZSCORE):
    source = np.asarray(source, float).reshape(1, 1, -1)
    inside = np.ones(source.shape, bool) if mask is None else np.asarray(mask).reshape(source.shape)
    return TrainingImages(source, inside, scaling, np.asarray(ct, float).reshape(source.shape))


def unseen(source, mask=None, scaling=ZSCORE, ct=0.0):
    source = np.asarray(source, float).reshape(1, 1, -1)
    inside = np.ones(source.shape, bool) if mask is None else np.asarray(mask).reshape(source.shape)
    return UnseenImages(source, inside, scaling, np.full(source.shape, ct))


def total(baseline, *patients):
    sums = [baseline.sums(patient) for patient in patients]
    return {key: sum(one[key] for one in sums) for key in sums[0]}


def fitted(name, *patients):
    baseline = BASELINES.build(name, {})
    return baseline, baseline.fit(total(baseline, *patients))


def test_the_constant_is_the_median_so_no_other_constant_has_a_lower_mae():
    rng = np.random.default_rng(0)
    patients = [training(np.arange(99), rng.normal(mean, 300, 99)) for mean in (-500, 0, 300)]
    baseline, fit = fitted("constant", *patients)
    everyone = np.rint(np.concatenate([patient.ct.ravel() for patient in patients]))
    best = np.abs(everyone - fit["hu"]).mean()
    others = [np.abs(everyone - (fit["hu"] + step)).mean() for step in range(-50, 51)]
    assert best == min(others)
    predicted = baseline.predict(unseen([1, 2, 3], mask=[True, False, True]), fit)
    assert predicted.ravel().tolist() == [fit["hu"], -1024, fit["hu"]]


def test_the_constant_ignores_what_lies_outside_the_body():
    _, fit = fitted("constant", training([1, 2, 3], [40, 40, -1000], mask=[True, True, False]))
    assert fit["hu"] == 40


def test_the_lookup_gives_the_mean_hu_of_each_intensity_and_need_not_rise():
    # Dark is both air and bone, middle is muscle, bright is fat: HU falls and rises again.
    source = np.tile([0.0, 500.0, 1000.0], 50)
    ct = np.tile([300.0, 50.0, -100.0], 50)
    baseline, fit = fitted("lookup", training(source, ct), training(source * 3, ct + 10))
    predicted = baseline.predict(unseen(source[:30] * 7), fit)  # scanners differ in gain
    np.testing.assert_allclose(predicted.ravel(), np.tile([305.0, 55.0, -95.0], 10))


def test_the_lookup_fills_intensities_nobody_had_and_clamps_beyond_its_range():
    rng = np.random.default_rng(1)
    source = rng.choice([0.0, 1000.0], 400)
    baseline, fit = fitted("lookup", training(source, source, scaling=PERCENTILE))
    table = np.asarray(fit["hu"])
    assert len(table) == 300
    assert np.isfinite(table).all()
    assert (np.diff(table) >= 0).all()
    probe = unseen([*np.linspace(0, 1000, 500), 9999.0], scaling=PERCENTILE)
    predicted = baseline.predict(probe, fit).ravel()
    assert predicted[0] == 0
    assert predicted[-1] == 1000


def test_the_lookup_table_of_all_patients_does_not_depend_on_their_order():
    rng = np.random.default_rng(2)
    patients = [training(rng.normal(0, 1, 500), rng.normal(0, 200, 500)) for _ in range(3)]
    _, forwards = fitted("lookup", *patients)
    _, backwards = fitted("lookup", *patients[::-1])
    np.testing.assert_allclose(forwards["hu"], backwards["hu"], rtol=1e-12)


def test_the_line_is_the_least_squares_line_over_all_training_patients():
    rng = np.random.default_rng(3)
    x = [rng.uniform(-900, 1500, 200) for _ in range(3)]
    y = [1.3 * one - 60 + rng.normal(0, 30, 200) for one in x]
    patients = [training(a, b, scaling=PERCENTILE) for a, b in zip(x, y, strict=True)]
    baseline, fit = fitted("linear", *patients)
    slope, intercept = np.polyfit(np.concatenate(x), np.clip(np.concatenate(y), -1024, 3071), deg=1)
    assert fit["slope"] == pytest.approx(slope, rel=1e-9)
    assert fit["intercept_hu"] == pytest.approx(intercept, rel=1e-9)
    predicted = baseline.predict(unseen([0.0, 100.0, 9000.0], scaling=PERCENTILE), fit)
    expected = [intercept, 100 * slope + intercept, 3071]
    np.testing.assert_allclose(predicted.ravel(), expected, rtol=1e-9)


def test_a_flat_scan_gives_a_flat_line_instead_of_a_division_by_zero():
    _, fit = fitted("linear", training([5.0] * 4, [10, 20, 30, 40]))
    assert fit == {"slope": 0.0, "intercept_hu": 25.0}


def test_raw_and_unregistered_are_the_scans_themselves():
    images = unseen([7.0, 8.0, 9.0], mask=[True, True, False], ct=-55.0)
    raw = BASELINES.build("raw", {}).predict(images, {})
    assert raw.ravel().tolist() == [7, 8, -1024]
    moved = BASELINES.build("unregistered", {}).predict(images, {})
    assert moved.ravel().tolist() == [-55, -55, -1024]


def test_an_mr_is_never_read_as_hu():
    assert not {"raw", "linear"} & set(baselines_for("mr", BASELINES.names()))
    assert {"raw", "linear"} < set(baselines_for("cbct", BASELINES.names()))


@pytest.mark.parametrize("name", BASELINES.names())
def test_every_baseline_leaves_its_input_alone_and_the_outside_empty(name):
    rng = np.random.default_rng(4)
    mask = np.arange(6000) < 5000
    source = np.where(mask, rng.normal(0, 1, 6000), rng.normal(-20, 0.5, 6000))  # tissue and air
    baseline, fit = fitted(name, training(source, rng.normal(0, 99, 6000), mask))
    images = unseen(source, mask)
    before = images.source.copy()
    predicted = baseline.predict(images, fit)
    assert predicted.shape == images.source.shape
    assert np.isfinite(predicted).all()
    assert (predicted.ravel()[5000:] == -1024).all()
    np.testing.assert_array_equal(images.source, before)


def test_two_point_needs_no_training_patient_and_undoes_the_scanners_gain():
    """Clinics compare with it: a network that is worse than a blind calibration is of no use."""
    rng = np.random.default_rng(0)
    body = np.concatenate([rng.normal(40, 10, 4000), rng.uniform(300, 1500, 600)])
    source = 0.8 * np.concatenate([body, rng.normal(-1000, 10, 3000)]) + 90
    mask = np.arange(source.size) < body.size
    baseline, fit = fitted("two_point", training(source, source))
    assert fit == {}
    predicted = baseline.predict(unseen(source, mask), fit).ravel()
    assert np.abs(predicted[mask] - body).mean() < 6
    assert (predicted[~mask] == -1024).all()
    assert "two_point" in baselines_for("cbct", ["two_point"])
    assert not baselines_for("mr", ["two_point"])


def test_three_tissue_classes_have_one_number_each_and_ignore_what_a_table_would_see():
    source = np.repeat([0.0, 300.0, 1000.0], 40) + np.tile([0.0, 20.0], 60)
    ct = np.repeat([200.0, 50.0, -100.0], 40) + np.tile([-10.0, 10.0], 60)
    baseline, fit = fitted("tissue_classes", training(source, ct), training(source * 2, ct))
    assert np.allclose(fit["hu"], [200, 50, -100])
    predicted = baseline.predict(unseen([0.0, 310.0, 1010.0, 320.0, 5.0, 1000.0] * 20), fit)
    assert predicted.ravel()[:6].tolist() == pytest.approx([200, 50, -100, 50, 200, -100])
