"""Intervals hold what they promise over patients, and the page says so when they do not."""

from __future__ import annotations

import numpy as np
import pytest

from synthct.tasks.evaluation.naive import SourceImages
from synthct.tasks.evaluation.uncertainty.case_summary import (
    error_facts,
    retention_curve,
    retention_gain,
)
from synthct.tasks.evaluation.uncertainty.conformal import (
    ALL,
    calibrate,
    calibrate_leaving_one_out,
    covered_share,
)
from synthct.tasks.evaluation.uncertainty.coverage import held_out_coverage, split_coverage
from synthct.tasks.evaluation.uncertainty.histogram import EDGES, ErrorCounts
from synthct.tasks.evaluation.uncertainty.likeness import (
    TrainingScans,
    feature_deviations,
    features,
)
from synthct.tasks.evaluation.uncertainty.recalibration import observed_levels, recalibrated
from synthct.tasks.evaluation.uncertainty.resampled import resampled
from synthct.tasks.models.description import SourceScaling


def patient(rng, *, scanner=1.0, voxels=4000):
    """Errors of one patient: some patients are harder, bone more than soft tissue."""
    hard = rng.lognormal(0, 0.25) * scanner
    prediction = rng.choice([-100.0, 40.0, 700.0], voxels, p=[0.3, 0.5, 0.2])
    spread = np.where(prediction > 150, 120.0, 25.0) * hard
    return rng.normal(0, spread), prediction


def counted(rng, **options):
    return ErrorCounts.of(*patient(rng, **options))


def test_counts_survive_json_and_keep_errors_to_two_percent():
    found = counted(np.random.default_rng(0))
    again = ErrorCounts.from_json(found.as_json())
    assert set(again.bands) == {"fat", "soft", "bone"}
    for name, counts in found.bands.items():
        np.testing.assert_array_equal(again.bands[name], counts)
    assert (EDGES[2:] / EDGES[1:-1]).max() < 1.021
    one = ErrorCounts.of(np.array([0.0, -30.0, 9e9]), np.zeros(3)).bands["soft"]
    assert one[0] == 1
    assert one[-1] == 1
    assert 30 <= EDGES[np.flatnonzero(one)[1]] < 30.7


def test_a_half_width_is_the_quantile_of_the_errors_by_hand():
    errors = np.arange(1.0, 101.0)
    widths = calibrate([ErrorCounts.of(errors, np.zeros(100))] * 5, 0.9)
    assert 90 <= widths["soft"] < 92
    assert covered_share(ErrorCounts.of(errors, np.zeros(100)), widths)["soft"] in (0.9, 0.91)


def test_every_patient_counts_once_however_large():
    small = ErrorCounts.of(np.full(10, 100.0), np.zeros(10))
    large = ErrorCounts.of(np.full(90_000, 1.0), np.zeros(90_000))
    assert calibrate([large, small], 0.9)[ALL] >= 100


def test_a_band_of_few_patients_takes_the_width_of_all():
    rng = np.random.default_rng(1)
    soft = [ErrorCounts.of(rng.normal(0, 20, 500), np.full(500, 40.0)) for _ in range(6)]
    both = ErrorCounts.of(rng.normal(0, 300, 500), np.full(500, 700.0))
    widths = calibrate([*soft, both], 0.9)
    assert widths["bone"] == widths[ALL]
    assert widths["soft"] < 40


@pytest.mark.parametrize("nominal", [0.8, 0.9, 0.95])
def test_twenty_patients_calibrate_twenty_others_and_the_nominal_lies_in_the_interval(nominal):
    rng = np.random.default_rng(7)
    first, second = ([counted(rng) for _ in range(24)] for _ in range(2))
    for name, found in split_coverage(first, second, nominal, rng).items():
        assert found.n == 24
        assert found.low <= nominal <= found.high, name
        assert found.holds
        assert found.value == pytest.approx(nominal, abs=0.05)


def test_under_another_scanner_the_interval_does_not_hold_and_says_so():
    rng = np.random.default_rng(7)
    first = [counted(rng) for _ in range(24)]
    second = [counted(rng, scanner=1.7) for _ in range(24)]
    found = split_coverage(first, second, 0.9, rng)
    assert not found[ALL].holds
    assert found[ALL].high < 0.9
    assert found["bone"].half_width > found["soft"].half_width


@pytest.mark.parametrize("guarantee", ["mean", "risk_control"])
def test_drawing_all_at_once_is_drawing_one_after_the_other(guarantee):
    rng = np.random.default_rng(11)
    first, second = ([counted(rng, voxels=300) for _ in range(n)] for n in (12, 7))
    drawn = resampled(first, second, 0.8, np.random.default_rng(5), guarantee=guarantee, draws=40)
    again = np.random.default_rng(5)
    known, new = (again.multinomial(n, [1 / n] * n, size=40) for n in (12, 7))
    for draw in range(40):
        chosen = [p for p, times in zip(first, known[draw], strict=True) for _ in range(times)]
        widths = calibrate(chosen, 0.8, guarantee=guarantee)
        shares = [covered_share(patient, widths) for patient in second]
        for name, values in drawn.items():
            expected = np.average([share[name] for share in shares], weights=new[draw])
            assert values[draw] == pytest.approx(expected, abs=1e-12), name


def test_risk_control_stays_above_nominal_and_asks_for_enough_patients():
    rng = np.random.default_rng(3)
    patients = [counted(rng) for _ in range(24)]
    mean = calibrate(patients, 0.9)[ALL]
    safe = calibrate(patients, 0.9, guarantee="risk_control")[ALL]
    assert mean < safe < np.inf
    assert calibrate(patients[:8], 0.9, guarantee="risk_control")[ALL] == np.inf
    shares = []
    for seed in range(60):
        drawn = np.random.default_rng(seed)
        widths = calibrate([counted(drawn, voxels=400) for _ in range(20)], 0.9,
                           guarantee="risk_control")  # fmt: skip
        shares.append(covered_share(counted(drawn, voxels=400), widths)[ALL])
    assert np.mean(shares) >= 0.9


def test_no_patient_calibrates_itself_though_it_has_two_scans():
    rng = np.random.default_rng(4)
    odd = ErrorCounts.of(np.full(100, 3000.0), np.zeros(100))
    patients = {f"P{n}": [counted(rng)] for n in range(9)} | {"odd": [odd, odd]}
    found = held_out_coverage(patients, 0.9, rng)
    assert found[ALL].n == 11
    # The odd one is never covered by the others; had it calibrated itself it would have been.
    assert found[ALL].value == pytest.approx(0.9 * 9 / 11, abs=0.05)
    assert held_out_coverage({"one": [odd]}, 0.9, rng) == {}


def test_recalibration_undoes_an_overconfident_spread():
    rng = np.random.default_rng(5)
    scaled = [
        ErrorCounts.of(rng.normal(0, 2.0, 5000), np.zeros(5000)) for _ in range(6)
    ]  # sigma is given as half its size
    observed = dict(observed_levels(scaled))
    assert observed[0.9] == pytest.approx(0.589, abs=0.02)
    factors = dict(recalibrated(scaled))
    assert factors[0.9] == pytest.approx(2 * 1.645, rel=0.03)
    assert list(factors.values()) == sorted(factors.values())


def test_retention_of_a_perfect_a_useless_and_a_wrong_uncertainty():
    error = np.random.default_rng(6).exponential(50, 4000)
    perfect = retention_curve(error, error)
    assert retention_gain(perfect) == pytest.approx(1)
    assert perfect[-1][1] == pytest.approx(error.mean())
    useless = retention_curve(error, np.random.default_rng(7).random(4000))
    assert retention_gain(useless) == pytest.approx(0, abs=0.05)
    assert retention_gain(retention_curve(error, -error)) < -0.5
    assert retention_gain(retention_curve(np.ones(9), np.arange(9))) is None


def test_facts_of_a_case_are_reported_inside_the_mask_only():
    truth, found = np.zeros((1, 2, 50)), np.full((1, 2, 50), 10.0)
    found[0, 1] = 900
    mask = np.zeros(truth.shape, bool)
    mask[0, 0] = True
    result = error_facts(truth, found, mask, np.full(truth.shape, 5.0))
    assert set(result["absolute"]) == {"soft"}
    assert sum(count for _, count in result["absolute"]["soft"]) == 50
    at = result["scaled"]["soft"][0][0]
    assert 2.0 <= EDGES[at] < 2.05
    assert set(error_facts(truth, found, mask, None)) == {"absolute"}


def scan(rng, *, noise=0.05, power=1.0):
    mask = np.ones((8, 30, 30), bool)
    y = np.linspace(0.1, 1, 30)[None, :, None] ** power
    source = (y + rng.normal(0, noise, mask.shape)) * rng.uniform(0.5, 3)
    images = SourceImages(source, mask, SourceScaling(kind="zscore_in_mask"))
    return features(images, (3.0, 1.0, 1.0))


@pytest.mark.parametrize("change", [{"noise": 0.4}, {"power": 5.0}])
def test_a_scan_unlike_the_training_is_reported_and_one_like_it_is_not(change):
    rng = np.random.default_rng(8)
    training = [scan(rng) for _ in range(8)]
    assert feature_deviations(scan(rng), TrainingScans.of(training))["unlike"] is False
    found = feature_deviations(scan(rng, **change), TrainingScans.of(training))
    assert found["unlike"] is True
    assert found["distance"] > found["limit"]
    assert found["because"]


def test_three_training_scans_say_nothing_about_the_fourth():
    rng = np.random.default_rng(9)
    assert (
        feature_deviations(scan(rng), TrainingScans.of([scan(rng) for _ in range(3)]))["unlike"]
        is None
    )


@pytest.mark.parametrize("guarantee", ["mean", "risk_control"])
def test_leaving_a_patient_out_of_the_sum_calibrates_otherwise_than_leaving_it_out_of_the_list(
    guarantee,
):
    rng = np.random.default_rng(11)
    rare = ErrorCounts.of(rng.normal(0, 50, 300), np.full(300, 1500.0))
    patients = {f"P{n:02d}": [counted(rng) for _ in range(1 + n % 2)] for n in range(23)}
    patients |= {f"Q{n}": [counted(rng), rare] for n in range(6)} | {"none": []}
    found = calibrate_leaving_one_out(patients, 0.9, guarantee=guarantee)
    for name in patients:
        others = [case for other, cases in patients.items() if other != name for case in cases]
        assert found[name] == calibrate(others, 0.9, guarantee=guarantee), name
