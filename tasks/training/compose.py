"""The objective: losses and regularizers, each called at its seams in the order of the params."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from synthct.tasks.models.contracts import Loss, Target
from synthct.tasks.models.description import TargetScaling
from synthct.tasks.regularization.base import Memory, Regularizer, Step, frozen_statistics, seams_of


@dataclass(frozen=True, eq=False)
class Member:
    """One regularizer of a run, with its weight and memory."""

    label: str
    weight: float
    regularizer: Regularizer
    memory: Memory = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Term:
    """One weighted loss of a run."""

    label: str
    weight: float
    loss: Loss


@dataclass(frozen=True, eq=False)
class Evaluated:
    """Value of the objective, and each term without its weight."""

    value: Tensor
    terms: Mapping[str, Tensor]
    step: Step


class Composition:
    r"""The objective :math:`\sum_i w_i L_i + \sum_j s_j R_j` of a run.

    :math:`w_i` are the weights of the losses, :math:`s_j` the strengths of the regularizers, weight
    times schedule.

    Parameters
    ----------
    losses
        Data terms.
    members
        Regularizers in the order in which they act.
    scaling
        Scaling between network units and HU, for losses in HU.
    """

    def __init__(
        self, losses: Sequence[Term], members: Sequence[Member], scaling: TargetScaling
    ) -> None:
        self.losses, self.members, self.scaling = tuple(losses), tuple(members), scaling
        self.strengths = {member.label: member.weight for member in members}

    @property
    def labels(self) -> list[str]:
        """Names of the terms of the objective, in order: losses, then penalties."""
        penalties = [m.label for m in self.members if "penalty" in seams_of(type(m.regularizer))]
        return [term.label for term in self.losses] + penalties

    def begin(self, step: Step) -> None:
        """Let the regularizers initialise their memories; once per run."""
        for member, view in self._acting(step):
            member.regularizer.begin(view)

    def perturb(self, step: Step) -> Step:
        """The step with the perturbed batch."""
        for member, view in self._acting(step):
            step = replace(step, batch=member.regularizer.perturb(replace(view, batch=step.batch)))
        return step

    def evaluate(self, step: Step, *, again: bool = False) -> Evaluated:
        """Forward pass, losses and penalties; with ``again`` running statistics are not updated."""
        acting = list(self._acting(step))
        frozen = frozen_statistics(step.model) if again else contextlib.nullcontext()
        with frozen, _hooked(step.model, acting) as features:
            prediction = step.run(step.batch.source).to(step.batch.target.dtype)
        step = replace(step, prediction=prediction)
        target = Target(step.batch.target, step.batch.mask, step.batch.spacing_mm, self.scaling)
        for member, view in acting:
            view = replace(view, prediction=prediction, features=features[member.label])
            target = member.regularizer.target(target, view)
        terms: dict[str, Tensor] = {}
        value = prediction.new_zeros(())
        for term in self.losses:
            terms[term.label] = term.loss(prediction, target)
            value = value + term.weight * terms[term.label]
        for member, view in acting:
            view = replace(
                view, prediction=prediction, features=features[member.label], value=value
            )
            penalty = member.regularizer.penalty(view)
            if penalty is not None:
                terms[member.label] = penalty
                value = value + view.strength * penalty
        return Evaluated(value, terms, step)

    def gradient(self, step: Step) -> None:
        """Let the regularizers change the gradients."""
        for member, view in self._acting(step):
            member.regularizer.gradient(view)

    def project(self, step: Step) -> None:
        """Let the regularizers change the weights."""
        for member, view in self._acting(step):
            member.regularizer.project(view)

    def kept(self, model: nn.Module) -> nn.Module:
        """The network as it may be released: a changed copy, or itself if nothing acts on it."""
        acting = [
            member
            for member in self.members
            if self.strengths[member.label] > 0 and "kept" in seams_of(type(member.regularizer))
        ]
        if not acting:
            return model
        changed = copy.deepcopy(model)
        with torch.no_grad():
            for member in acting:
                member.regularizer.kept(changed, member.memory)
        return changed

    @property
    def learned(self) -> list[str]:
        """Labels of the strengths that a regularizer may change during the run."""
        learners = [m for m in self.members if m.weight > 0 and m.regularizer.learns]
        return [m.label for m in self.members if learners and not m.regularizer.learns]

    def state(self) -> dict[str, object]:
        """State for a checkpoint: memories and strengths."""
        return {
            "memories": [dict(member.memory) for member in self.members],
            "strengths": dict(self.strengths),
        }

    def restore(self, state: Mapping[str, object]) -> None:
        """Restore a state from :meth:`state`."""
        memories, strengths = state["memories"], state["strengths"]
        assert isinstance(memories, list)
        assert isinstance(strengths, dict)
        for member, memory in zip(self.members, memories, strict=True):
            member.memory.clear()
            member.memory.update(memory)
        self.strengths.update(strengths)

    def _acting(self, step: Step) -> Iterator[tuple[Member, Step]]:
        """Each regularizer with its view of the step; those of strength 0 are skipped."""
        for member in self.members:
            strength = self.strengths[member.label] * member.regularizer.schedule(step.progress)
            if strength != 0:
                view = step.seen_by(member.label, strength, member.memory)
                yield member, replace(view, strengths=self.strengths)


@contextlib.contextmanager
def _hooked(
    model: nn.Module, acting: Sequence[tuple[Member, Step]]
) -> Iterator[dict[str, dict[str, Tensor]]]:
    """Collect and perturb the layers that regularizers name; all hooks are removed afterwards."""
    features: dict[str, dict[str, Tensor]] = {member.label: {} for member, _ in acting}
    with contextlib.ExitStack() as stack:
        for member, view in acting:
            for layer in member.regularizer.hides(model):
                stack.enter_context(_perturbed(model, layer, member, view))
            for layer in member.regularizer.collects(model):
                stack.enter_context(_collected(model, layer, features[member.label]))
        yield features


@contextlib.contextmanager
def _perturbed(model: nn.Module, layer: str, member: Member, view: Step) -> Iterator[None]:
    def hook(_module: nn.Module, _inputs: object, output: Tensor) -> Tensor:
        return member.regularizer.hidden(layer, output, view)

    handle = model.get_submodule(layer).register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


@contextlib.contextmanager
def _collected(model: nn.Module, layer: str, into: dict[str, Tensor]) -> Iterator[None]:
    def hook(_module: nn.Module, _inputs: object, output: Tensor) -> None:
        into[layer] = output

    handle = model.get_submodule(layer).register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()
