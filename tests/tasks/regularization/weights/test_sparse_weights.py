from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from synthct.data.errors import UsageError
from tests.tasks.regularization.toy_training import error, lesson, student, train


def linear(weights):
    layer = nn.Linear(len(weights), 1, bias=False).double()
    layer.weight.data = torch.tensor([weights], dtype=torch.float64)
    return nn.Sequential(layer)


def test_the_least_weights_shrink_by_the_strength_and_the_others_stay(problem):
    small = problem("sparse_weights", weight=0.25, model=linear([4.0, -1.0, 2.0, -3.0]),
                    sparsity=0.5, rise=1.0)  # fmt: skip
    small.composition.project(replace(small.step(9), total=10))  # the last step: p = P
    assert small.model[0].weight.tolist() == [[4.0, -0.75, 1.5, -3.0]]


def test_at_the_start_nothing_shrinks(problem):
    small = problem("sparse_weights", weight=0.5, model=linear([1.0, 2.0]), sparsity=0.5)
    small.composition.project(small.step(0))
    assert small.model[0].weight.tolist() == [[1.0, 2.0]]


def test_a_small_weight_that_is_needed_is_pruned_by_its_relevance(problem):
    small = problem("sparse_weights", model=linear([0.1, 1.0]), sparsity=0.5, measure="relevance")
    small.model[0].weight.grad = torch.tensor([[100.0, 0.1]], dtype=torch.float64)
    small.composition.gradient(small.step(0))
    assert small.composition.kept(small.model)[0].weight.tolist() == [[0.1, 0.0]]
    by_size = problem("sparse_weights", model=linear([0.1, 1.0]), sparsity=0.5)
    assert by_size.composition.kept(by_size.model)[0].weight.tolist() == [[0.0, 1.0]]


def test_a_resumed_run_goes_on_from_the_memory_wherever_the_network_is(problem):
    """Checkpoints are loaded on the CPU; the network may be on another device."""
    small = problem("sparse_weights", model=linear([0.1, 1.0]).to("meta"), measure="relevance")
    small.model[0].weight.grad = torch.ones((1, 2), dtype=torch.float64, device="meta")
    small.member.memory["0"] = torch.ones((1, 2), dtype=torch.float64)
    small.composition.gradient(small.step(0))
    assert small.member.memory["0"].device.type == "meta"


def share_of_zeros(model):
    weights = torch.cat([m.weight.flatten() for m in model if isinstance(m, nn.Conv2d)])
    return float((weights == 0).double().mean())


def cut_at_once(model, share):
    with torch.no_grad():
        for module in model:
            if isinstance(module, nn.Conv2d):
                count = int(share * module.weight.numel())
                least = module.weight.abs().flatten().argsort()[:count]
                module.weight.view(-1)[least] = 0.0
    return model


@pytest.mark.claim
@pytest.mark.parametrize("measure", ["magnitude", "relevance"])
def test_nine_tenths_are_zero_at_less_error_than_by_cutting_at_once(problem, measure):
    small = problem("sparse_weights", weight=0.2, model=student(16), sparsity=0.9, measure=measure)
    small.batch = lesson()
    sparse = train(small, 400)
    plain = problem("sparse_weights", weight=0.0, model=student(16))
    plain.batch = lesson()
    cut = cut_at_once(train(plain, 400), 0.9)
    unseen = lesson(seed=1)
    assert share_of_zeros(sparse) == pytest.approx(0.9, abs=0.01)
    assert error(sparse, unseen) < 0.7 * error(cut, unseen)


@pytest.mark.parametrize("options", [{"sparsity": 1.0}, {"rise": 0.0}])
def test_impossible_options_are_refused(problem, options):
    with pytest.raises(UsageError, match="must be"):
        problem("sparse_weights", **options)
