from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from synthct.data.errors import UsageError
from synthct.tasks.regularization.weights.gram_lipschitz import GramLipschitz


def convolution(size, seed=0, inputs=2, outputs=3, **options):
    torch.manual_seed(seed)
    return nn.Conv2d(inputs, outputs, size, bias=False, **options).double()


def norm_on_images(module, side=9):
    """Largest singular value on zero-padded images."""
    shape = (module.in_channels, side, side)
    count = module.in_channels * side * side
    images = torch.eye(count, dtype=torch.float64).view(count, *shape)
    with torch.no_grad():
        return torch.linalg.svdvals(module(images).flatten(1))[0].item()


def bound(problem, module, threshold=0.0, **options):
    options["threshold"] = threshold
    small = problem("gram_lipschitz", model=nn.Sequential(module), **options)
    return small.member.regularizer.penalty(small.step()).item()


def test_hand_value_of_the_frobenius_norm(problem):
    module = nn.Linear(2, 2, bias=False).double()
    module.weight.data = torch.tensor([[3.0, 0.0], [0.0, 4.0]], dtype=torch.float64)
    assert bound(problem, module, iterations=0) == pytest.approx(5.0)
    # One Gram product: 9 and 16, whose norm's root is (81 + 256)^(1/4).
    assert bound(problem, module, iterations=1) == pytest.approx(337**0.25)
    assert bound(problem, module, iterations=8) == pytest.approx(4.0, rel=1e-3)
    assert bound(problem, module, iterations=8, threshold=3.0) == pytest.approx(1.0, rel=1e-2)
    assert bound(problem, module, iterations=8, threshold=9.0) == 0.0


def test_hand_value_of_a_blur_is_one(problem):
    """A mean of 3 x 3 voxels passes a constant image unchanged, and no image is amplified."""
    module = convolution(3, inputs=1, outputs=1)
    module.weight.data.fill_(1 / 9)
    slack = 1 / torch.cos(torch.tensor(torch.pi / 8)).item() ** 2
    assert bound(problem, module) == pytest.approx(slack, rel=1e-6)


def test_many_products_neither_overflow_nor_vanish(problem):
    for scale in (1e-12, 1e12):
        module = nn.Linear(4, 3, bias=False)
        module.weight.data *= scale
        model = nn.Sequential(module)
        small = problem("gram_lipschitz", model=model, iterations=8, threshold=0.0)
        value = small.member.regularizer.penalty(small.step())
        value.backward()
        truth = torch.linalg.matrix_norm(module.weight, 2).item()
        assert value.item() == pytest.approx(truth, rel=0.02)
        assert torch.isfinite(module.weight.grad).all()


def test_a_layer_of_zeros_has_a_finite_slope(problem):
    module = nn.Linear(2, 2, bias=False).double()
    module.weight.data.zero_()
    small = problem("gram_lipschitz", model=nn.Sequential(module))
    small.member.regularizer.penalty(small.step()).backward()
    assert torch.isfinite(module.weight.grad).all()


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    size=st.sampled_from([1, 2, 3, (1, 5)]),
    stride=st.sampled_from([1, 2]),
    groups=st.sampled_from([1, 2]),
    oversampling=st.sampled_from([2, 4]),
)
def test_no_image_is_amplified_beyond_the_bound(seed, size, stride, groups, oversampling):
    module = convolution(size, seed, inputs=2, outputs=4, stride=stride, groups=groups)
    module.padding = tuple(k // 2 for k in module.kernel_size)
    for iterations in (0, 2, 5):
        above = GramLipschitz(iterations, oversampling)._bound(module).item()
        assert norm_on_images(module, side=7) <= above * (1 + 1e-9)


def check_bound_is_tight_from_above(problem):
    module = convolution(3, padding=1)
    truth = norm_on_images(module, side=14)
    bounds = [bound(problem, module, iterations=t, oversampling=16) for t in range(7)]
    assert all(value >= truth for value in bounds)
    assert all(after < before for before, after in itertools.pairwise(bounds[:4]))
    assert bounds[-1] < 1.05 * truth


@pytest.mark.claim
def test_the_bound_is_above_the_norm_and_tighter_with_more_iterations(problem, fails_without):
    """The paper's claim."""
    check_bound_is_tight_from_above(problem)
    fails_without("gram_lipschitz", check_bound_is_tight_from_above, problem)


def check_norms_come_down_to_the_threshold(problem, descend):
    module = convolution(3, padding=1)
    module.weight.data *= 5
    small = problem("gram_lipschitz", model=nn.Sequential(module), threshold=1.0)
    descend(small, steps=150, learning_rate=0.05, data=False)
    assert 0.6 < norm_on_images(module) <= 1.03


@pytest.mark.claim
def test_training_brings_the_layers_norm_below_the_threshold(problem, descend, fails_without):
    check_norms_come_down_to_the_threshold(problem, descend)
    fails_without("gram_lipschitz", check_norms_come_down_to_the_threshold, problem, descend)


def test_acting_every_third_step_is_three_times_as_strong(problem):
    module = convolution(3)
    assert bound(problem, module, every=3) == pytest.approx(3 * bound(problem, module))


def test_only_the_named_layers_are_bounded(problem):
    small = problem("gram_lipschitz", layers=("3",), threshold=0.0)
    value = small.member.regularizer.penalty(small.step()).item()
    assert value == pytest.approx(small.model[3].weight.norm().item(), rel=1e-6)  # one row


@pytest.mark.parametrize(
    "options", [{"iterations": -1}, {"oversampling": 1}, {"threshold": -1.0}, {"every": 0}]
)
def test_impossible_options_are_refused(problem, options):
    with pytest.raises(UsageError, match="must"):
        problem("gram_lipschitz", **options)
