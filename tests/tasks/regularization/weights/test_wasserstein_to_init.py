from __future__ import annotations

import pytest
import torch
from scipy.stats import wasserstein_distance_nd
from torch import nn


def linear(*weights):
    layer = nn.Linear(len(weights), 1, bias=False).double()
    layer.weight.data = torch.tensor([weights], dtype=torch.float64)
    return layer


def after(problem, start, then, **options):
    small = problem("wasserstein_to_init", model=nn.Sequential(linear(*start)), **options)
    small.composition.begin(small.step())
    small.model[0].weight.data = torch.tensor([then], dtype=torch.float64)
    return small.member.regularizer.penalty(small.step().seen_by("", 1.0, small.member.memory))


def test_hand_value_pairs_sorted_weights(problem):
    value = after(problem, (3.0, 1.0, 2.0), (2.0, 5.0, 1.0))
    assert value.item() == pytest.approx(2.0**2)  # 1, 2, 5 against 1, 2, 3


def test_swapped_weights_cost_nothing(problem):
    assert after(problem, (3.0, 1.0, -2.0), (-2.0, 3.0, 1.0)).item() == 0.0


def test_it_is_never_more_than_the_distance_weight_by_weight(problem):
    start, then = torch.randn((2, 30), generator=torch.Generator().manual_seed(1))
    value = after(problem, start.tolist(), then.tolist()).item()
    assert 0 < value < ((start - then) ** 2).sum().item()


def test_it_is_the_optimal_transport_between_equal_spacings(problem):
    """Where all weights move alike, the squared 2- and 1-distances agree: another library's."""
    start = torch.linspace(-1, 1, 20, dtype=torch.float64)
    then = (start + 0.3).flip(0)
    other = wasserstein_distance_nd(start[:, None].numpy(), then[:, None].numpy())
    value = after(problem, start.tolist(), then.tolist()).item()
    assert value == pytest.approx(20 * other**2, rel=1e-6)


def test_a_run_that_resumes_still_knows_its_first_weights(problem):
    first = problem("wasserstein_to_init")
    first.composition.begin(first.step())
    second = problem("wasserstein_to_init")
    second.composition.restore(first.composition.state())
    with torch.no_grad():
        second.model[0].weight += 1.0
    step = second.step().seen_by("", 1.0, second.member.memory)
    assert second.member.regularizer.penalty(step).item() == pytest.approx(54.0)  # 54 weights


def test_acting_every_third_step_is_three_times_as_strong(problem):
    value = after(problem, (0.0, 0.0), (1.0, 2.0), every=3)
    assert value.item() == pytest.approx(3 * 5.0)


def check_scale_stays_while_weights_move(problem, descend):
    small = problem("wasserstein_to_init", weight=5.0)
    start = small.model[0].weight.detach().clone()
    with torch.no_grad():
        small.batch.source.mul_(0.2)  # needs larger weights
    descend(small, steps=150, learning_rate=0.01)
    moved = small.model[0].weight.detach()
    gap = (moved.flatten().sort().values - start.flatten().sort().values).abs().max()
    assert gap.item() < 0.02
    assert (moved - start).abs().max().item() > 2 * gap.item()


@pytest.mark.claim
def test_weights_move_while_their_distribution_stays(problem, descend, fails_without):
    """The paper's claim: less restrictive than holding the weights themselves."""
    check_scale_stays_while_weights_move(problem, descend)
    name = "wasserstein_to_init"
    fails_without(name, check_scale_stays_while_weights_move, problem, descend)
