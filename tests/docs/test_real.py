"""The figures of docs/benchmarks/real_patients.md that docs/make_real.py computes itself."""

from __future__ import annotations

import numpy as np
import pytest

from docs.make_real import differences, error_parts, rank_agreement
from synthct.data.tables import write_table


def test_ranks_of_two_cohorts_by_hand():
    """Means 1, 2, 3, 4 and 1, 3, 2, 4: 1 - 6 * (0 + 1 + 1 + 0) / (4 * 15) = 0.8."""
    ours = np.array([[0.0, 2.0], [1.0, 3.0], [2.0, 4.0], [3.0, 5.0]])
    theirs = np.array([[1.0, 1.0, 1.0], [3.0, 3.0, 3.0], [2.0, 2.0, 2.0], [4.0, 4.0, 4.0]])
    value, low, high = rank_agreement(ours, theirs, draws=50)
    assert value == pytest.approx(0.8)
    assert (low, high) == pytest.approx((0.8, 0.8))  # every patient ranks the arms alike


def test_the_interval_is_that_of_one_cohort_only():
    rng = np.random.default_rng(1)
    clear = np.arange(6.0)[:, None] + np.zeros((6, 8))
    noisy = np.arange(6.0)[:, None] + rng.normal(0, 6, (6, 8))
    _, low, high = rank_agreement(clear, noisy, draws=200)
    assert low < high <= 1
    _, low, high = rank_agreement(noisy, clear, draws=200)
    assert low < high <= 1


def test_replicates_and_other_metrics_count_as_arms(tmp_path):
    rows = [
        {"arm": arm, "case": case, "metric": metric, "chosen": 1, "value": value}
        for arm, case, metric, value in (
            ("none", "a", "mae_hu", 10.0), ("none", "b", "mae_hu", 20.0),
            ("ssim", "b", "mae_hu", 19.0), ("ssim", "a", "mae_hu", 12.0),
            ("ssim", "a", "bone_dice", 0.5), ("replicate-1", "a", "mae_hu", 11.0),
        )
    ]  # fmt: skip
    write_table(tmp_path / "trials.csv", list(rows[0]), rows)
    found = differences(tmp_path)
    assert list(found) == ["ssim"]
    assert found["ssim"].tolist() == [2.0, -1.0]


def test_parts_of_the_error_do_not_sum_to_it():
    hu = np.array([-900.0, 40.0, 900.0, 40.0, -1000.0])
    sct = np.array([-100.0, 50.0, 500.0, 600.0, 0.0])
    mask = np.array([True, True, True, True, False])
    parts = error_parts(hu, sct, mask)
    assert parts == {
        "air inside the outline": (200.0, 25.0), "bone": (240.0, 50.0), "all else": (2.5, 25.0),
    }  # fmt: skip
    assert sum(part[0] for part in parts.values()) == np.abs(sct - hu)[mask].mean()
