from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from synthct.data.errors import UsageError
from synthct.tasks.models.rounding import rounded
from tests.tasks.regularization.toy_training import error, lesson, student, train


def at_bits(model, bits):
    """The network with the leading bits of its weights."""
    with torch.no_grad():
        for module in model:
            if isinstance(module, nn.Conv2d):
                module.weight.copy_(torch.from_numpy(rounded(module.weight.numpy(), bits)))
    return model


def test_what_is_added_is_not_the_gradient_at_the_rounded_weights(problem):
    small = problem("nested_bits", weight=0.5, model=student(4), bits=(4,))
    small.batch = lesson()
    small.one_step()
    found = [p.grad.clone() for p in small.model.parameters()]
    small.composition.members = ()
    small.one_step()
    here = [p.grad.clone() for p in small.model.parameters()]
    at_bits(small.model, 4)
    small.one_step()
    there = [p.grad.clone() for p in small.model.parameters()]
    for a, b, c in zip(found, here, there, strict=True):
        torch.testing.assert_close(a, b + 0.5 * c)


def test_the_mean_over_draws_is_not_the_sum_over_the_widths(problem):
    """With shares 1 and 0 the first width counts twice as often as it is drawn."""
    small = problem("nested_bits", weight=1.0, model=student(4), bits=(8, 2), shares=(1.0, 0.0))
    small.batch = lesson()
    sizes = []
    for seed in range(40):
        step = small.step(seed=seed)
        evaluated = small.composition.evaluate(step)
        small.model.zero_grad()
        evaluated.value.backward()
        before = small.model[0].weight.grad.clone()
        again = lambda step=step: small.composition.evaluate(step, again=True).value  # noqa: E731
        small.composition.gradient(replace(evaluated.step, objective=again))
        added = small.model[0].weight.grad - before
        sizes.append(float(added.norm() / before.norm()))
    assert {round(size) for size in sizes} == {0, 2}
    assert np.mean(sizes) == pytest.approx(1.0, abs=0.35)


@pytest.mark.claim
def test_its_four_leading_bits_are_better_than_rounding_afterwards(problem):
    errors = {}
    for weight in (0.0, 1.0):
        small = problem("nested_bits", weight=weight, model=student(), bits=(8, 4))
        small.batch = lesson()
        errors[weight] = error(at_bits(train(small, 300), 4), lesson(seed=1))
    assert errors[1.0] < 0.8 * errors[0.0]


@pytest.mark.parametrize("options", [{"bits": (1,)}, {"bits": ()}, {"shares": (1.0,)}])
def test_impossible_options_are_refused(problem, options):
    with pytest.raises(UsageError, match="must be"):
        problem("nested_bits", **options)
