from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from synthct.tasks.models.description import ModelDescription, SourceScaling, TargetScaling
from synthct.tasks.training.chunks import ChunkCache
from synthct.tasks.training.validation import Validation

SCALING = TargetScaling(low_hu=-1000.0, high_hu=1000.0)


class Constant(nn.Module):
    """Predicts the same HU everywhere."""

    def __init__(self, hu):
        super().__init__()
        self.value = hu / 1000
        self.seen = []

    def forward(self, x):
        assert not self.training
        self.seen.append(tuple(x.shape))
        return torch.full((x.shape[0], 1, *x.shape[2:]), self.value)


def validation(*cases, **more):
    description = ModelDescription(
        source="mr", fold=0, network={"name": "any"}, slices=3, patch_size=(32, 32), divisor=16,
        spacing_mm=(3.0, 2.0, 2.0), source_scaling=SourceScaling(), target_scaling=SCALING,
    )  # fmt: skip
    return Validation(cases, ChunkCache(1 << 30), description, **more)


def direct(model, x):
    return model(x)


def test_it_is_the_masked_mean_absolute_error_in_hu_without_clipping(case):
    pair = case()
    ct = np.asarray(pair.arrays["ct"]).astype(float)
    inside = np.asarray(pair.arrays["mask"]) > 0
    model = Constant(100.0).train()
    assert validation(pair).mae_hu(model, direct) == pytest.approx(
        np.abs(ct - 100.0)[inside].mean(), rel=1e-5
    )
    assert model.training
    assert {shape[1:] for shape in model.seen} == {(3, 32, 32)}


def test_each_case_counts_the_same_however_large(case):
    small, large = case("a", seed=1), case("b", seed=2, shape=(12, 40, 60))
    model = Constant(0.0)
    alone = [validation(pair).mae_hu(model, direct) for pair in (small, large)]
    assert validation(small, large).mae_hu(model, direct) == pytest.approx(np.mean(alone))


def test_only_the_slices_that_were_held_back_are_looked_at(case):
    pair = case()
    body = pair.body.copy()
    body[:7] = 0
    ct = np.asarray(pair.arrays["ct"]).astype(float)[7:]
    inside = np.asarray(pair.arrays["mask"])[7:] > 0
    got = validation(replace(pair, body=body)).mae_hu(Constant(0.0), direct)
    assert got == pytest.approx(np.abs(ct)[inside].mean(), rel=1e-5)


def test_a_few_slices_are_spread_over_the_body(case):
    model = Constant(0.0)
    validation(case(), most=3).mae_hu(model, direct)
    # 40 x 44 takes two overlapping windows of 32 along each axis, on each of three slices.
    assert sum(shape[0] for shape in model.seen) == 3 * 4
