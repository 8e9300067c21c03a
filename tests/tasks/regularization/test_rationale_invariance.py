from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from synthct.data.errors import UsageError
from synthct.tasks.models.networks import NETWORKS
from synthct.tasks.regularization import REGULARIZERS
from synthct.tasks.regularization.base import splits
from synthct.tasks.regularization.features.rationale_invariance import contributions


def test_contributions_and_the_bias_are_the_output():
    torch.manual_seed(0)
    model = NETWORKS.build("unet_plus_plus", {"slices": 1, "width": 4}).build().eval()
    kept = []
    model.full_size.register_forward_hook(lambda _m, _i, out: kept.append(out))
    with torch.no_grad():
        out = model(torch.randn(1, 1, 32, 32))
        each = contributions(model, kept[0])
    torch.testing.assert_close(torch.tanh(each.sum(dim=1, keepdim=True) + model.head.bias), out)


def test_a_run_in_bfloat16_has_contributions_too():
    model = nn.Sequential(nn.ReLU(), nn.Conv2d(2, 1, 1, bias=False))
    feature = torch.tensor([1.0, 2.0]).view(1, 2, 1, 1).expand(1, 2, 4, 4)
    halved = contributions(model, feature.bfloat16())
    torch.testing.assert_close(halved, contributions(model, feature))


def test_a_layer_that_the_last_convolution_does_not_read_ends_in_an_error_of_torch():
    model = nn.Sequential(nn.ReLU(), nn.Conv2d(2, 1, 1))
    with pytest.raises(UsageError, match="4 channels and the last convolution takes 2"):
        contributions(model, torch.zeros(1, 4, 8, 8))


def test_an_evaluation_at_other_weights_does_not_move_the_means(problem):
    """Sharpness and learned strengths evaluate the objective again at displaced weights."""
    small = problem("rationale_invariance")
    small.objective()
    with torch.no_grad():
        small.model[-1].weight.mul_(100.0)
    evaluated = small.composition.evaluate(small.step(), again=True)
    small.composition.project(evaluated.step)
    alone = problem("rationale_invariance")
    alone.composition.project(alone.composition.evaluate(alone.step()).step)
    torch.testing.assert_close(small.member.memory["means"], alone.member.memory["means"])


@pytest.mark.parametrize("name", ["rationale_invariance", "hypersphere_trace", "evidence_decay"])
def test_statistics_of_a_batch_are_not_those_of_one_part_of_it(name):
    """Each process, or each part of a batch, would move the memory to statistics of its own."""
    assert not splits(REGULARIZERS.get(name))


def test_hand_value(problem):
    """Weights 2 and 3; means of the first step 2 and 3; then (4, 3) is 2 away from (2, 3)."""
    model = nn.Sequential(nn.ReLU(), nn.Conv2d(2, 1, 1, bias=False)).double()
    model[1].weight.data = torch.tensor([2.0, 3.0], dtype=torch.float64).view(1, 2, 1, 1)
    small = problem("rationale_invariance", model=model, bins=1)

    def value(number, first):
        source = torch.ones_like(small.batch.source)
        source[:, 0] = first
        evaluated = small.composition.evaluate(
            small.step(number, replace(small.batch, source=source))
        )
        small.composition.project(evaluated.step)
        return evaluated.terms["rationale_invariance"].item()

    assert value(0, 1.0) == 0.0
    assert value(1, 2.0) == pytest.approx(4.0)
    means = small.member.memory["means"]  # 0.9 * 2 + 0.1 * 4
    assert means.flatten().tolist() == pytest.approx([2.2, 3.0])


@pytest.mark.parametrize("options", [{"bins": 0}, {"momentum": 1.0}, {"samples": 1}])
def test_impossible_options_are_refused(problem, options):
    with pytest.raises(UsageError, match="must be"):
        problem("rationale_invariance", **options)


def domain(rng, sign):
    """A clue that is a little noisy in every scan, and two exact ones that cancel an artefact.

    On another scanner the second of the two has the other sign.
    """
    shape = (8, 1, 8, 8)
    target = torch.where(torch.rand(shape, generator=rng) < 0.5, -0.5, 0.5).double()
    noise, artefact = (torch.randn(shape, generator=rng, dtype=torch.float64) for _ in "na")
    return torch.cat([target + 0.25 * noise, target + artefact, sign * artefact], dim=1), target


def unseen_error(problem, weight):
    """Error on the other scanner."""
    torch.manual_seed(0)
    rng = torch.Generator().manual_seed(1)
    model = nn.Sequential(nn.LeakyReLU(1.0), nn.Conv2d(3, 1, 1)).double()
    small = problem("rationale_invariance", weight=weight, model=model, bins=2)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for number in range(200):
        source, target = domain(rng, -1.0)
        batch = replace(small.batch, source=source, target=target, mask=torch.ones_like(target))
        evaluated = small.composition.evaluate(small.step(number, batch, seed=number))
        optimizer.zero_grad()
        evaluated.value.backward()
        optimizer.step()
        small.composition.project(evaluated.step)
    source, target = domain(rng, 1.0)
    with torch.no_grad():
        return (model(source) - target).abs().mean().item()


@pytest.mark.claim
def test_the_error_on_an_unseen_scanner_falls(problem):
    """The paper's claim: what holds in all domains is relied on."""
    plain, invariant = unseen_error(problem, 0.0), unseen_error(problem, 10.0)
    assert invariant < 0.6 * plain
