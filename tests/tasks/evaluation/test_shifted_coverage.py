"""Coverage at another site: split conformal loses it, the regularised threshold does not."""

from __future__ import annotations

import numpy as np
import pytest

from synthct.tasks.evaluation.uncertainty.elsewhere import Scored, elsewhere
from synthct.tasks.evaluation.uncertainty.histogram import ErrorCounts
from synthct.tasks.evaluation.uncertainty.shifted import shifted_threshold


def draw(n, shift, rng):
    """Twelve features, of which three shift and two decide how large errors are."""
    x = rng.standard_normal((n, 12))
    x[:, :3] += shift
    return x, np.abs(rng.standard_normal(n)) * np.exp(0.5 * x[:, 0] + 0.3 * x[:, 1])


def test_at_another_site_split_conformal_loses_five_points_and_the_threshold_holds():
    split, adapted, plain = [], [], []
    for seed in range(4):
        rng = np.random.default_rng(seed)
        x, scores = draw(2000, 0.0, rng)
        there, unseen = draw(4000, 0.6, rng)
        split.append((unseen <= np.quantile(scores, 0.9)).mean())
        for found, strength in ((adapted, 1.0), (plain, 0.0)):
            threshold = shifted_threshold(scores, x, there[:2000], 0.9, strength=strength)
            found.append((unseen[2000:] <= threshold(there[2000:])).mean())
    assert np.mean(split) < 0.85
    assert abs(np.mean(adapted) - 0.9) < 0.02
    # The likelihood ratio does it, not the regression alone.
    assert abs(np.mean(plain) - 0.9) > abs(np.mean(adapted) - 0.9) + 0.01


def test_without_a_shift_nothing_is_lost():
    rng = np.random.default_rng(3)
    x, scores = draw(3000, 0.0, rng)
    there, unseen = draw(3000, 0.0, rng)
    threshold = shifted_threshold(scores, x, there, 0.9)
    assert abs((unseen <= threshold(there)).mean() - 0.9) < 0.02


def test_without_features_the_threshold_is_the_quantile():
    scores = np.arange(1.0, 101.0)
    threshold = shifted_threshold(scores, np.zeros((100, 1)), np.ones((5, 1)), 0.9)
    np.testing.assert_allclose(threshold(np.zeros((2, 1))), 90.0)


def test_the_unit_of_the_scores_changes_what_is_covered():
    rng = np.random.default_rng(0)
    x, scores = draw(400, 0.0, rng)
    there, _ = draw(400, 0.5, rng)
    small, large = (shifted_threshold(k * scores, x, there, 0.9)(there) for k in (1.0, 50.0))
    np.testing.assert_allclose(large, 50 * small, rtol=1e-3)


@pytest.mark.parametrize("coverage", [0.0, 1.0])
def test_an_impossible_coverage_is_refused(coverage):
    with pytest.raises(ValueError, match="between 0 and 1"):
        shifted_threshold(np.ones(3), np.ones((3, 1)), np.ones((3, 1)), coverage)


def scored(number, noisy):
    """A case whose errors grow with its noise, which is one of its features."""
    rng = np.random.default_rng(number)
    noise = 1.5 * rng.random() ** (0.6 if noisy else 1.6)
    hu = np.where(rng.random(3000) < 0.2, 600.0, 40.0)
    error = rng.laplace(0, (15 + 40 * noise) * np.where(hu > 150, 3, 1))
    features = {"noise": noise, "volume": rng.normal()}
    region = "thorax" if noisy else "head-neck"
    return Scored(f"P{number}", region, features, ErrorCounts.of(error, hu))


def test_a_region_that_calibration_lacks_is_covered_after_adaptation_without_its_errors():
    rounds = [elsewhere([scored(1000 * k + n, n >= 40) for n in range(60)], 0.9) for k in range(3)]
    assert [list(found) for found in rounds] == [["head-neck", "thorax"]] * 3
    thorax = [found["thorax"] for found in rounds]
    assert thorax[0]["cases"] == 20
    assert thorax[0]["patients_elsewhere"] == 40
    assert np.mean([found["split"] for found in thorax]) < 0.83
    assert abs(np.mean([found["adapted"] for found in thorax]) - 0.9) < 0.03


def test_a_region_is_judged_by_too_few_patients_elsewhere():
    assert elsewhere([scored(n, n >= 19) for n in range(30)], 0.9) == {}
