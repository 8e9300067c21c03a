from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from synthct.data.errors import UsageError
from synthct.tasks.regularization import REGULARIZERS
from synthct.tasks.regularization.image.wavelet_sparsity import _analyse, _synthesise

SPACING = (3.0, 1.0, 1.0)


def made(**options):
    return REGULARIZERS.build("wavelet_sparsity", options)


def test_hand_value_of_one_haar_level():
    x = torch.tensor([[[[4.0, 0.0], [0.0, 0.0]]]], dtype=torch.float64)
    # Sums and differences of a single 4: every one of the three details is 2.
    assert made(levels=1).image(x, SPACING).item() == pytest.approx(3 * 2)


@pytest.mark.parametrize("shape", [(1, 2, 8, 4), (2, 1, 4, 8, 8), (1, 1, 6, 10)])
def test_the_transform_is_orthonormal_and_invertible(shape):
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0)).double()
    coarse, details = _analyse(x, 3)
    energy = coarse.square().sum() + sum(d.square().sum() for d in details)
    torch.testing.assert_close(energy, x.square().sum())
    torch.testing.assert_close(_synthesise(coarse, details, x.ndim - 2), x)


def test_every_step_shifts_the_blocks(problem):
    small = problem("wavelet_sparsity")
    values = {small.objective(small.step(seed=seed)).item() for seed in range(6)}
    assert len(values) > 1


def test_no_level_at_all_is_refused():
    with pytest.raises(UsageError):
        made(levels=0)


def noisy():
    """A square on an even ground, and the same with noise."""
    truth = torch.zeros((1, 1, 32, 32), dtype=torch.float64)
    truth[..., 7:21, 9:27] = 1.0
    noise = torch.randn(truth.shape, generator=torch.Generator().manual_seed(3)).double()
    return truth, truth + 0.2 * noise


def test_soft_thresholds_remove_noise_and_keep_the_edge():
    """The property of the paper: the threshold removes noise and leaves large details."""
    truth, image = noisy()
    found = made().prox(image, SPACING, 0.4)
    assert (found - truth).square().mean() < 0.4 * (image - truth).square().mean()
    flat, edge = slice(0, 6), slice(9, 26)
    assert found[..., flat, :].std() < 0.5 * image[..., flat, :].std()
    step = (found[..., 8, edge] - found[..., 5, edge]).mean()
    assert step > 0.7


@pytest.mark.claim
def test_a_penalised_fit_to_a_noisy_target_is_nearer_the_truth_than_the_target(problem):
    truth, target = noisy()
    small = problem("wavelet_sparsity")
    image = target.clone().requires_grad_()
    optimizer = torch.optim.Adam([image], lr=0.02)
    for number in range(150):
        step = small.step(number, seed=number).seen_by("wavelet_sparsity", 1.0, {})
        penalty = small.member.regularizer.penalty(replace(step, prediction=image))
        optimizer.zero_grad()
        ((image - target).square().mean() / 2 + 0.15 * penalty).backward()
        optimizer.step()
    assert (image - truth).square().mean() < 0.4 * (target - truth).square().mean()
