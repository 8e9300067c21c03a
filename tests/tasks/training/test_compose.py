from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch
from torch import nn

from synthct.tasks.losses import LOSSES
from synthct.tasks.models.contracts import Batch
from synthct.tasks.models.description import TargetScaling
from synthct.tasks.regularization.base import Regularizer, Step, seams_of
from synthct.tasks.training.compose import Composition, Member, Term


@dataclass(frozen=True)
class Add(Regularizer):
    """Adds to the source; penalises by a constant."""

    amount: float = 1.0

    def perturb(self, step):
        return replace(step.batch, source=step.batch.source * 2 + self.amount)

    def penalty(self, step):
        return torch.tensor(self.amount)


@dataclass(frozen=True)
class Watch(Regularizer):
    """Collects one layer, doubles another, counts its steps, ignores half the voxels."""

    def collects(self, model):
        return ("1",)

    def hides(self, model):
        return ("0",)

    def begin(self, step):
        step.memory["count"] = torch.zeros(())

    def hidden(self, layer, feature, step):
        return 2 * feature

    def target(self, target, step):
        step.memory["count"] = step.memory["count"] + 1
        weight = target.weight.clone()
        weight[..., 0] = 0
        return replace(target, weight=weight)

    def penalty(self, step):
        return step.features["1"].mean()

    def project(self, step):
        step.strengths[step.label] *= 0.5


@dataclass(frozen=True)
class Late(Regularizer):
    """Acts in the second half of the run only."""

    def schedule(self, progress):
        return 0.0 if progress < 0.5 else 2.0

    def penalty(self, step):
        return torch.tensor(1.0)


def network():
    model = nn.Sequential(nn.Conv2d(1, 1, 1, bias=False), nn.Conv2d(1, 1, 1, bias=False))
    for layer in model:
        nn.init.ones_(layer.weight)
    return model


def composition(*members):
    labelled = [Member(f"m{n}", w, regularizer) for n, (w, regularizer) in enumerate(members)]
    return Composition([Term("l1", 1.0, LOSSES.build("l1", {}))], labelled, TargetScaling())


def step_of(model, number=0):
    one = torch.ones(1, 1, 2, 2)
    batch = Batch(one, 0 * one, one, (1.0, 1.0, 1.0), ("thorax",), ("a",), ((0, 0, 0),))
    return Step(
        batch=batch, model=model, number=number, total=5, epoch=0, seed=1, run=model,
        objective=lambda: torch.zeros(()), validation=lambda: batch,
    )  # fmt: skip


def test_perturbations_compose_in_the_order_listed():
    step = step_of(network())
    seen = composition((1.0, Add(1.0)), (1.0, Add(5.0))).perturb(step).batch.source
    assert seen.unique().item() == (1 * 2 + 1) * 2 + 5
    assert step.batch.source.unique().item() == 1


def test_the_objective_is_the_weighted_sum_and_terms_are_reported_before_their_weights():
    parts = composition((0.5, Add(3.0)))
    evaluated = parts.evaluate(step_of(network()))
    assert {k: v.item() for k, v in evaluated.terms.items()} == {"l1": 1.0, "m0": 3.0}
    assert evaluated.value.item() == 1.0 + 0.5 * 3.0
    assert parts.labels == ["l1", "m0"]


def test_hidden_layers_are_perturbed_and_collected_and_no_hook_stays():
    model = network()
    parts = composition((1.0, Watch()))
    step = step_of(model)
    parts.begin(step)
    evaluated = parts.evaluate(step)
    assert evaluated.terms["m0"].item() == 2.0  # collected after layer 0 was doubled
    assert model(step.batch.source).unique().item() == 1.0


def test_a_target_can_lose_voxels():
    parts = composition((1.0, Watch()))
    step = step_of(network())
    parts.begin(step)
    step = replace(step, batch=replace(step.batch, target=torch.tensor([[[[9.0, 0.0]] * 2]])))
    assert parts.evaluate(step).terms["l1"].item() == 2.0  # the column of nines does not count


def test_a_schedule_switches_on_and_scales():
    parts = composition((1.0, Late()))
    assert "m0" not in parts.evaluate(step_of(network(), number=1)).terms
    assert parts.evaluate(step_of(network(), number=4)).value.item() == 1.0 + 2.0


def test_memories_and_learned_strengths_come_back():
    parts = composition((1.0, Watch()))
    step = step_of(network())
    parts.begin(step)
    parts.evaluate(step)
    parts.project(step)
    kept = parts.state()
    other = composition((1.0, Watch()))
    other.restore(kept)
    assert other.members[0].memory["count"].item() == 1
    assert other.strengths == {"m0": 0.5}


def test_a_stream_depends_on_step_and_name_not_on_the_neighbours():
    step = step_of(network())
    draw = lambda s: torch.rand(3, generator=s.rng).tolist()  # noqa: E731
    mine = step.seen_by("mine", 1.0, {})
    assert draw(mine) == draw(mine)
    assert draw(mine) != draw(step.seen_by("yours", 1.0, {}))
    assert draw(mine) != draw(replace(mine, seed=2))


@pytest.mark.parametrize(
    ("cls", "seams"),
    [(Add, ("perturb", "penalty")), (Watch, ("perturb", "penalty", "target", "project")),
     (Late, ("penalty", "schedule")), (Regularizer, ())],
)  # fmt: skip
def test_seams_are_what_a_class_overrides(cls, seams):
    assert seams_of(cls) == seams
