"""How far the reference itself moves, and rankings as published and corrected."""

from __future__ import annotations

import numpy as np
import pytest

from tasks.evaluation.floor import floor_of, mean_floor
from tasks.evaluation.ranking import higher_is_better, rank, rank_stability


def test_the_floor_is_the_distance_of_the_references_inside_the_mask():
    mask = np.array([[[True, True, False]]])
    images = {
        "chain": np.array([[[0, 0, 0]]]), "seed1": np.array([[[10, -20, 99]]]),
        "lncc": np.array([[[30, 30, 99]]]),
    }  # fmt: skip
    told = floor_of(images, mask)
    assert told["pairs"]["chain | seed1"] == {"mae_hu": 15.0, "me_hu": -5.0}
    assert told["pairs"]["seed1 | lncc"] == {"mae_hu": 35.0, "me_hu": 35.0}
    assert (told["floor_mae_hu"], told["worst_mae_hu"]) == (22.5, 30.0)
    assert mean_floor([told, {"floor_mae_hu": 7.5}, {}]) == 15.0
    assert mean_floor([]) is None


SCORES = {
    "sharp": {"mae_hu": 60.0, "psnr_db": 30.0, "ms_ssim": 0.93, "dice": 0.80},
    "smooth": {"mae_hu": 58.0, "psnr_db": 29.0, "ms_ssim": 0.90, "dice": 0.70},
    "poor": {"mae_hu": 90.0, "psnr_db": 25.0, "ms_ssim": 0.80, "dice": 0.60},
}


def test_the_published_ranking_prefers_the_worse_similarity_and_the_corrected_one_does_not():
    metrics = ["mae_hu", "psnr_db", "ms_ssim", "dice"]
    assert rank(SCORES, metrics) == {"sharp": 1.25, "smooth": 1.75, "poor": 3.0}
    published = rank(SCORES, metrics, "as_published")
    assert published == {"sharp": 2.25, "smooth": 1.75, "poor": 2.0}
    assert higher_is_better("dice_bone")
    assert not higher_is_better("hd95_mm_bone")
    assert not higher_is_better("dice_bone", "as_published")


def test_ties_share_a_rank_and_a_method_without_the_score_is_last():
    scores = {"a": {"mae_hu": 5.0}, "b": {"mae_hu": 5.0}, "c": {}}
    assert rank(scores, ["mae_hu"]) == {"a": 1.5, "b": 1.5, "c": 3.0}
    assert rank({"a": {"psnr_db": 3.0}, "c": {}}, ["psnr_db"]) == {"a": 1.0, "c": 2.0}


def test_a_close_race_is_not_sold_as_a_win():
    rng = np.random.default_rng(0)
    hard = rng.normal(60, 10, 20)
    cases = {
        "a": {"mae_hu": hard}, "b": {"mae_hu": hard + rng.normal(0, 5, 20)},
        "c": {"mae_hu": hard + 20},
    }  # fmt: skip
    share = rank_stability(cases, ["mae_hu"], np.random.default_rng(1), draws=300)
    assert sum(share.values()) == pytest.approx(1)
    assert share["c"] == 0
    assert 0.03 < share["b"] < 0.97
