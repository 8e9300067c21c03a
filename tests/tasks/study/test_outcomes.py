from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from synthct.data.volume import Grid, Modality, Volume
from synthct.tasks.models.description import ModelDescription, SourceScaling, TargetScaling
from synthct.tasks.study import outcomes
from synthct.tasks.study.outcomes import PredictedCase, eight_bits, thinned, wrong_hu

GRID = Grid((12, 40, 40), (3.0, 2.0, 2.0))


@pytest.fixture
def seen(tmp_path):
    """A phantom with a bone, answered by a network that passes its (scaled) input through."""
    description = ModelDescription(
        source="mr", fold=0, network={"name": "unet_plus_plus"}, dimensions="2.5d", slices=1,
        patch_size=(16, 16), divisor=1, spacing_mm=(3.0, 2.0, 2.0),
        source_scaling=SourceScaling(kind="zscore_in_mask"), target_scaling=TargetScaling(),
        flips=("x",), precision="float32", regularizers=[], regions=["thorax"],
        train_cases=["a"], validation_cases=["b"], test_cases=["c"],
    )  # fmt: skip
    rng = np.random.default_rng(0)
    ct = np.full(GRID.shape, 40.0)
    ct[:, 10:20, 10:20] = 700.0
    mask = np.zeros(GRID.shape, np.uint8)
    mask[:, 4:-4, 4:-4] = 1
    mr = (200 + 0.1 * ct + rng.normal(0, 2, GRID.shape)).astype(np.float32)

    def make(gain=0.1, hu=None, offset=0.0):
        return PredictedCase(
            "c", tmp_path, description, lambda x: np.float32(gain) * x + np.float32(offset),
            Volume(mr, GRID, Modality.MR), Volume(mask, GRID, Modality.MASK),
            ct if hu is None else hu, ct, thinned(mask > 0), 5,
        )  # fmt: skip

    return make


def test_a_network_of_twice_the_slope_passes_twice_the_noise_on(seen):
    gains = []
    for gain in (0.05, 0.1):
        plain = seen(gain)
        plain = seen(gain, plain.again())
        gains.append(outcomes.noise_gain_hu(plain))
    assert gains[1] / gains[0] == pytest.approx(2, rel=0.05)


def test_a_network_that_follows_the_source_loses_more_on_another_scanner(seen):
    scaling = TargetScaling()
    half, middle = (scaling.high_hu - scaling.low_hu) / 2, (scaling.high_hu + scaling.low_hu) / 2
    rough = seen(0.1)
    slope, lift = np.polyfit(rough.again()[rough.inside], rough.reference[rough.inside], 1)

    def lost(share):
        """A network with a share of the slope that fits the usual scanner, and the rest as mean."""
        mean = (1 - share) * rough.reference[rough.inside].mean()
        offset = (share * (slope * middle + lift) + mean - middle) / half
        model = {"gain": 0.1 * slope * share, "offset": offset}
        return outcomes.shifted_hu(seen(hu=seen(**model).again(), **model))

    assert lost(1.0) > lost(0.5) > lost(0.0) == 0
    assert lost(1.0) > 3


def test_bone_that_is_missing_or_displaced_counts_as_missed(seen):
    exact = seen()
    assert outcomes.bone_missed(exact) == 0
    assert outcomes.bone_missed(seen(hu=np.full(GRID.shape, 40.0))) == 1
    assert 0.2 < outcomes.bone_missed(seen(hu=np.roll(exact.reference, 6, axis=2))) < 1


def test_intervals_without_width_miss_their_nominal_coverage_by_all_of_it(seen):
    plain = seen(0.0)
    assert outcomes.coverage_gap(plain) == pytest.approx(90, abs=1)
    assert outcomes.bias_hu(seen(hu=plain.reference + 7)) == pytest.approx(7)


def test_memorised_wrong_targets_are_told_from_right_ones():
    truth, inside = np.zeros((2, 4, 4)), np.ones((2, 4, 4), bool)
    given = truth.copy()
    given[0, 0] = 1000.0
    assert wrong_hu(given, given, truth, inside) == 1000
    assert wrong_hu(truth, given, truth, inside) == 0
    assert wrong_hu(given, truth, truth, inside) is None


def test_the_8_bits_that_are_priced_round_all_but_the_first_and_last_convolution():
    torch.manual_seed(0)
    network = nn.Sequential(*(nn.Conv2d(4, 4, 3, padding=1) for _ in range(3)))
    exact = [layer.weight.detach().clone() for layer in network]
    x = torch.randn(1, 4, 8, 8)
    before = network(x)
    rounded = eight_bits(network)
    same = [torch.equal(a, b.weight) for a, b in zip(exact, rounded, strict=True)]
    assert same == [True, False, True]
    change = (rounded(x) - before).abs().max()
    assert 0 < change < 0.05
