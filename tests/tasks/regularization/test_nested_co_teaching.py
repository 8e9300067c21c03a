from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from synthct.data.errors import UsageError
from synthct.tasks.models.contracts import Target
from synthct.tasks.models.description import TargetScaling
from synthct.tasks.regularization.base import Regularizer
from synthct.tasks.regularization.features.nested_dropout import NestedDropout
from synthct.tasks.regularization.targets.nested_co_teaching import COUNT, KEPT, NestedCoTeaching
from synthct.tasks.training.run_state import load_checkpoint, save_checkpoint


def linear(channels=60, width=8):
    torch.manual_seed(0)
    layers = nn.Conv2d(channels, width, 1, bias=False), nn.Identity(), nn.Conv2d(width, 1, 1)
    return nn.Sequential(*layers).double()


def weights_of(small, errors, number=9):
    """The weights of a batch whose samples are wrong by ``errors`` for a peer that predicts 0."""
    source = torch.zeros((len(errors), 2, 4, 4), dtype=torch.float64)
    value = torch.tensor(errors, dtype=torch.float64).view(-1, 1, 1, 1).expand(-1, 1, 4, 4)
    batch = replace(small.batch, source=source, target=value, mask=torch.ones_like(value))
    step = replace(
        small.step(number, batch), memory=small.member.memory, prediction=torch.zeros_like(value)
    )
    wanted = Target(value, batch.mask, batch.spacing_mm, TargetScaling())
    return small.member.regularizer.target(wanted, step).weight[:, 0, 0, 0].tolist()


@pytest.mark.parametrize(
    ("forget", "number", "kept"),
    [(0.5, 9, [1, 0, 1, 0]), (0.25, 9, [1, 0, 1, 1]), (0.5, 0, [1, 1, 1, 1])],
)
def test_the_patches_that_the_peer_finds_hardest_do_not_count(problem, forget, number, kept):
    model = nn.Sequential(nn.Conv2d(2, 4, 1, bias=False), nn.Identity(), nn.Conv2d(4, 1, 1))
    nn.init.zeros_(model[2].bias)
    small = problem("nested_co_teaching", model=model.double(), layer="1", forget=forget)
    assert weights_of(small, [0.1, 0.9, 0.2, 0.5], number) == kept


def test_the_part_that_is_forgotten_rises_after_both_were_alone():
    rising = NestedCoTeaching(forget=0.4, alone=0.5, ramp=0.2)
    assert [rising.forgotten(p) for p in (0.0, 0.49)] == [0, 0]
    assert [rising.forgotten(p) for p in (0.6, 0.7, 1.0)] == pytest.approx([0.2, 0.4, 0.4])
    assert NestedCoTeaching(alone=0.5, ramp=0.0).forgotten(0.5) == 0.2


def test_the_peer_has_the_same_numbers_in_another_order(problem):
    small = problem("nested_co_teaching")
    small.composition.begin(small.step())
    for name, weight in small.model.named_parameters():
        peer = small.member.memory[f"weight/{name}"]
        torch.testing.assert_close(peer.flatten().sort().values, weight.flatten().sort().values)
    first = small.member.memory["weight/0.weight"]
    assert not torch.equal(first, small.model[0].weight)


def test_the_peer_takes_the_step_that_adam_takes(problem):
    small = problem("nested_co_teaching", weight=1e-9, alone=0.9)
    small.composition.begin(small.step())
    peer = nn.Sequential(*small.model)
    before = {n: small.member.memory[f"weight/{n}"].clone() for n, _ in peer.named_parameters()}
    evaluated = small.composition.evaluate(small.step())
    small.composition.project(evaluated.step)
    peer.load_state_dict({**small.model.state_dict(), **before})
    adam = torch.optim.Adam(peer.parameters(), lr=1e-3)
    error = (peer(small.batch.source) - small.batch.target).abs().flatten(1).mean(dim=1)
    error.mean().backward()
    adam.step()
    for name, weight in peer.named_parameters():
        torch.testing.assert_close(small.member.memory[f"weight/{name}"], weight.detach())


def test_evaluating_the_same_step_again_meets_the_same_choice(problem):
    small = problem("nested_co_teaching", forget=0.5, alone=0.0, ramp=0.0)
    step = small.step(3)
    first = small.composition.evaluate(step).value
    kept = small.member.memory[KEPT].clone()
    again = small.composition.evaluate(step, again=True).value
    assert torch.equal(kept, small.member.memory[KEPT])
    torch.testing.assert_close(first, again)


def test_the_peer_survives_a_checkpoint(problem, tmp_path):
    small, resumed = problem("nested_co_teaching"), problem("nested_co_teaching")
    small.composition.project(small.composition.evaluate(small.step()).step)
    save_checkpoint(tmp_path, small.composition.state())
    resumed.composition.restore(load_checkpoint(tmp_path))
    assert int(resumed.member.memory[COUNT]) == 1
    for each in (small, resumed):
        each.composition.project(each.composition.evaluate(each.step(1)).step)
    assert all(
        torch.equal(value, resumed.member.memory[key]) for key, value in small.member.memory.items()
    )


@pytest.mark.parametrize("options", [{"forget": 1.0}, {"alone": -0.1}, {"ramp": -1.0}])
def test_impossible_parts_are_refused(problem, options):
    with pytest.raises(UsageError, match="must"):
        problem("nested_co_teaching", **options)


def error_on_wrong_targets(problem, weight):
    """Distance to the truth on samples whose targets are wrong, where training ends."""
    rng = torch.Generator().manual_seed(2)
    source = 0.4 * torch.randn((120, 60, 1, 1), generator=rng, dtype=torch.float64)
    source[:, 0] *= 5  # what most agree on is quickly learned
    truth = source[:, :1] / 2
    wrong = torch.rand(120, generator=rng) < 0.3
    target = torch.where(wrong.view(-1, 1, 1, 1), truth - 3 * truth.sign(), truth)
    model = linear()
    small = problem(
        "nested_co_teaching", weight=weight, model=model, layer="1", forget=0.35, alone=0.1
    )
    batch = replace(small.batch, source=source, target=target, mask=torch.ones_like(target))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for number in range(150):
        step = replace(small.step(number, batch, seed=number), total=150, learning_rate=0.02)
        evaluated = small.composition.evaluate(step)
        optimizer.zero_grad()
        evaluated.value.backward()
        optimizer.step()
        small.composition.project(evaluated.step)
    with torch.no_grad():
        return (model(source) - truth).abs()[wrong].mean().item()


def fits_fewer_wrong_targets(problem):
    return error_on_wrong_targets(problem, 0.1) < 0.7 * error_on_wrong_targets(problem, 0.0)


@pytest.mark.claim
def test_fewer_wrong_targets_are_memorised_than_by_plain_training(problem):
    """The paper's claim: compression and co-teaching together withstand wrong labels."""
    assert fits_fewer_wrong_targets(problem)


def test_without_the_choice_the_property_fails(problem, monkeypatch):
    monkeypatch.setattr(NestedCoTeaching, "target", Regularizer.target)
    monkeypatch.setattr(NestedDropout, "hidden", Regularizer.hidden)
    assert not fits_fewer_wrong_targets(problem)
