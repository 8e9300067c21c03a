from __future__ import annotations

import pytest
import torch

from synthct.data.errors import UsageError
from synthct.tasks.losses import LOSSES
from synthct.tasks.models.contracts import Target
from synthct.tasks.models.description import TargetScaling
from synthct.tasks.regularization import REGULARIZERS
from synthct.tasks.regularization.image.spiral_tap import _analyse, _synthesise

SPACING = (3.0, 1.0, 1.0)


def made(**options):
    return REGULARIZERS.build("spiral_tap", {"epsilon": 1e-9, **options})


def test_hand_value_of_one_haar_level():
    x = torch.tensor([[[[4.0, 0.0], [0.0, 0.0]]]], dtype=torch.float64)
    # Sums and differences of a single 4: every one of the three details is 2.
    assert made(levels=1).image(x, SPACING).item() == pytest.approx(3 * 2 / 4)


def test_hand_value_of_the_variation():
    x = torch.tensor([[[[0.0, 3.0], [4.0, 0.0]]]], dtype=torch.float64)
    # Lengths (4, 3) -> 5, (-3) -> 3, (-4) -> 4, and 0 at the corner.
    assert made(form="total_variation").image(x, SPACING).item() == pytest.approx(12 / 4)


@pytest.mark.parametrize("shape", [(1, 2, 8, 4), (2, 1, 4, 8, 8), (1, 1, 6, 10)])
def test_the_transform_is_orthonormal_and_comes_back(shape):
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0)).double()
    coarse, details = _analyse(x, 3)
    energy = coarse.square().sum() + sum(d.square().sum() for d in details)
    torch.testing.assert_close(energy, x.square().sum())
    torch.testing.assert_close(_synthesise(coarse, details, x.ndim - 2), x)


def test_the_proximal_map_is_the_minimiser():
    x = torch.randn((1, 1, 8, 8), generator=torch.Generator().manual_seed(0)).double()
    member, step = made(), 0.3

    def cost(v):
        return (v - x).square().sum() / 2 + step * x.numel() * member.image(v, SPACING)

    best = member.prox(x, SPACING, step)
    rng = torch.Generator().manual_seed(1)
    for size in (1e-1, 1e-3):
        for _ in range(20):
            elsewhere = best + size * torch.randn(x.shape, generator=rng).double()
            assert cost(best) < cost(elsewhere)


def test_a_variation_has_no_proximal_map_in_closed_form():
    with pytest.raises(ValueError, match="no closed form"):
        made(form="total_variation").prox(torch.zeros(1, 1, 4, 4), SPACING, 1.0)


def test_every_step_shifts_the_blocks(problem):
    small = problem("spiral_tap")
    values = {small.objective(small.step(seed=seed)).item() for seed in range(6)}
    assert len(values) > 1


@pytest.mark.parametrize("options", [{"form": "l2"}, {"levels": 0}, {"epsilon": 0.0}])
def test_impossible_options_are_refused(options):
    with pytest.raises(UsageError):
        REGULARIZERS.build("spiral_tap", options)


@pytest.mark.claim
@pytest.mark.parametrize("form", ["wavelets", "total_variation"])
def test_few_photons_give_a_better_image_than_likelihood_alone(problem, form):
    """The paper's claim: the penalised Poisson likelihood restores piecewise smooth rates."""
    rng = torch.Generator().manual_seed(3)
    scaling = TargetScaling(low_hu=-1000.0, high_hu=1000.0)
    rate = torch.full((1, 1, 16, 16), 5.0, dtype=torch.float64)  # photons a voxel of water: 10
    rate[..., 4:12, 4:12] = 15.0
    seen = torch.poisson(rate, generator=rng).clamp(max=20)
    target = Target(seen / 10 - 1, torch.ones_like(seen), SPACING, scaling)
    poisson = LOSSES.build("poisson", {"counts": 10.0, "background": 0.1})
    small = problem("spiral_tap", form=form)
    image = target.value.clone().requires_grad_()
    optimizer = torch.optim.Adam([image], lr=0.02)
    for number in range(150):
        step = small.step(number, seed=number).seen_by("spiral_tap", 1.0, {})
        penalty = small.member.regularizer.penalty(_with(step, image))
        optimizer.zero_grad()
        (poisson(image, target) + 0.3 * penalty).backward()
        optimizer.step()
    truth = rate / 10 - 1
    noise = (target.value - truth).abs().mean()
    assert (image - truth).abs().mean() < 0.75 * noise


def _with(step, prediction):
    from dataclasses import replace

    return replace(step, prediction=prediction)
