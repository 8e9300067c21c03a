"""A pool uses its most certain members; a spread can be trained to be calibrated."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from synthct.data.errors import UsageError
from synthct.data.volume import Grid, Modality, Volume
from synthct.tasks.evaluation.uncertainty.case_summary import retention_curve, retention_gain
from synthct.tasks.models.description import ModelDescription, SourceScaling, TargetScaling
from synthct.tasks.models.sliding import Prediction
from synthct.tasks.prediction.pool import predict_pool, select
from synthct.tasks.regularization.targets.calibrated_flips import calibration_penalty

SHAPE = (4, 20, 20)


def member(hu, sd_hu):
    whole = np.ones(SHAPE)
    return Prediction((hu * whole).astype(np.int16), (sd_hu * whole).astype(np.float32))


def kept_effect(pool, truth, *, keep):
    """Members that are kept, their MAE [HU], retention curve and gain."""
    body = np.ones(SHAPE, bool)
    found = select(pool, body, keep=keep)
    error = found.hu[body].astype(np.float64) - truth[body]
    curve = retention_curve(error, np.maximum(found.sd_hu[body], 1.0))
    return {
        "members": found.members, "mae_hu": np.abs(error).mean(), "retention": curve,
        "retention_gain": retention_gain(curve),
    }  # fmt: skip


def test_the_surest_members_answer_and_their_spread_counts_both_kinds_of_doubt():
    pool = [member(100, 30.0), member(40, 3.0), member(60, 4.0)]
    one = select(pool, np.ones(SHAPE, bool), keep=1)
    assert one.members == (1,)
    assert (one.hu == 40).all()
    two = select(pool, np.ones(SHAPE, bool), keep=2)
    assert two.members == (1, 2)
    assert (two.hu == 50).all()
    assert two.sd_hu == pytest.approx(np.sqrt((9 + 16) / 2 + 100))
    assert two.uncertainty_hu == pytest.approx((30, 3, 4))


def test_only_the_body_decides_who_is_sure():
    body = np.zeros(SHAPE, bool)
    body[1] = True
    loud = np.where(body, 1.0, 500.0)
    assert select([member(0, 5.0), member(9, loud)], body, keep=1).members == (1,)


@pytest.mark.parametrize("keep", [0, 3])
def test_a_pool_cannot_keep_none_or_more_than_it_has(keep):
    with pytest.raises(UsageError, match="members of the pool"):
        select([member(0, 1.0), member(1, 1.0)], np.ones(SHAPE, bool), keep=keep)
    with pytest.raises(UsageError, match="has no uncertainty"):
        select([Prediction(np.zeros(SHAPE, np.int16))], np.ones(SHAPE, bool), keep=1)


def test_a_member_that_fails_on_a_shifted_scanner_is_left_out_and_the_curve_says_what_it_saved():
    rng = np.random.default_rng(0)
    truth = rng.normal(0, 200, SHAPE)
    good = [
        Prediction(np.rint(truth + rng.normal(0, s)).astype(np.int16), s.astype(np.float32))
        for s in (rng.uniform(5, 40, SHAPE) for _ in range(2))
    ]
    wide = rng.uniform(100, 400, SHAPE)
    failed = Prediction(
        np.rint(truth + rng.normal(0, wide)).astype(np.int16), wide.astype(np.float32)
    )
    found = {k: kept_effect([good[0], failed, good[1]], truth, keep=k) for k in (1, 2, 3)}
    assert set(found[2]["members"]) == {0, 2}
    assert found[2]["mae_hu"] < found[1]["mae_hu"] < 0.5 * found[3]["mae_hu"]
    assert found[2]["retention"][-1][1] == pytest.approx(found[2]["mae_hu"])
    assert all(found[2]["retention"][n][1] < found[3]["retention"][n][1] for n in range(20))
    assert found[1]["retention_gain"] > 0.3


def test_networks_are_chosen_by_their_own_flips():
    model = ModelDescription(
        source="mr", fold=0, network={"name": "unet_plus_plus"}, slices=1, patch_size=(20, 20),
        spacing_mm=(3.0, 1.5, 1.5), source_scaling=SourceScaling(kind="zscore_in_mask"),
        target_scaling=TargetScaling(), train_cases=[], test_cases=[], flips=("x",),
    )  # fmt: skip
    grid = Grid(SHAPE, (3.0, 1.5, 1.5))
    rng = np.random.default_rng(1)
    scan = Volume(rng.normal(100, 10, SHAPE).astype(np.float32), grid, Modality.MR)
    body = Volume(np.ones(SHAPE, np.uint8), grid, Modality.MASK)
    ramp = np.linspace(-0.3, 0.3, SHAPE[2], dtype=np.float32)

    def sided(inputs):  # answers by where it stands, not by what it sees
        return np.zeros_like(inputs) + ramp

    def steady(inputs):
        return np.zeros_like(inputs) - np.float32(0.5)

    found = predict_pool([sided, steady], scan, body, model, keep=1)
    assert found.members == (1,)
    assert found.uncertainty_hu[0] > 100 > found.uncertainty_hu[1]
    assert np.abs(found.hu - 0).max() <= 1  # -0.5 is water


def test_the_penalty_is_nothing_for_an_honest_spread_and_leads_a_false_one_there():
    generator = torch.Generator().manual_seed(0)
    error = 30 * torch.randn(20000, generator=generator, dtype=torch.float64)
    honest = calibration_penalty(error, torch.full_like(error, 30.0))
    assert honest < 2e-4
    for start in (5.0, 200.0):
        assert calibration_penalty(error, torch.full_like(error, start)) > 20 * honest
        scale = torch.tensor(np.log(start), dtype=torch.float64, requires_grad=True)
        optimizer = torch.optim.Adam([scale], lr=0.05)
        for _ in range(200):
            optimizer.zero_grad()
            calibration_penalty(error, scale.exp().expand_as(error)).backward()
            optimizer.step()
        assert scale.exp().item() == pytest.approx(30, rel=0.1)


def test_what_lies_outside_the_body_calibrates_nothing():
    error = torch.randn(1000, generator=torch.Generator().manual_seed(1))
    weight = torch.cat([torch.ones(500), torch.zeros(500)])
    spoiled = torch.cat([error[:500], torch.full((500,), 1e6)])
    sigma = torch.ones(1000)
    assert calibration_penalty(spoiled, sigma, weight) == calibration_penalty(error, sigma, weight)
    assert calibration_penalty(error, sigma, torch.zeros(1000)).isfinite()
