"""The base class of regularizers, and the state of one training step that they are given."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from torch import Tensor, nn

from synthct.data.errors import UsageError, nearest
from synthct.tasks.models.contracts import Batch, Target
from synthct.tasks.pipeline.randomness import derive_seed

Memory = dict[str, Tensor]
"""Tensors that one regularizer keeps from step to step; saved in every checkpoint."""


@dataclass(frozen=True, eq=False)
class Step:
    """State of one training step, from the point of view of one regularizer.

    Parameters
    ----------
    batch
        The patches (after the perturbations of the regularizers listed before).
    model
        The network in training mode.
    number, total, epoch
        Index of this step, number of steps of the run, and number of passes over the training
        set so far.
    seed
        Seed of this step; each regularizer's random stream is derived from it.
    run
        The network at the precision of the run. Regularizers call :meth:`forward` instead.
    objective
        Evaluates losses and penalties again at the model's current weights, on the same batch
        with the same random numbers, without changing the model's running statistics.
    validation
        Draws a batch of validation patches (for strengths that are learned).
    prediction, features, value
        Set after the forward pass: the output, the outputs of the layers that this regularizer
        collects, and the objective so far (losses and the penalties listed before).
    label, strength, memory
        Of this regularizer: its name in the history, weight times schedule, and its tensors.
    strengths
        Weight of every regularizer by label. A learned schedule may change these numbers.
    learning_rate
        Learning rate of the optimizer in this step, for regularizers that train parameters of
        their own.
    """

    batch: Batch
    model: nn.Module
    number: int
    total: int
    epoch: int
    seed: int
    run: Callable[[Tensor], Tensor]
    objective: Callable[[], Tensor]
    validation: Callable[[], Batch]
    prediction: Tensor = field(default_factory=lambda: torch.empty(0))
    features: Mapping[str, Tensor] = field(default_factory=dict)
    value: Tensor = field(default_factory=lambda: torch.zeros(()))
    label: str = ""
    strength: float = 1.0
    memory: Memory = field(default_factory=dict)
    strengths: dict[str, float] = field(default_factory=dict)
    learning_rate: float = 1e-3

    @property
    def progress(self) -> float:
        """From 0 at the first step to 1 at the last."""
        return self.number / max(1, self.total - 1)

    @property
    def rng(self) -> torch.Generator:
        """A new generator (CPU) at the start of this regularizer's random stream in this step.

        It depends neither on the other regularizers nor on what was drawn before, so that
        evaluating the objective again draws the same numbers. Read this property once per
        evaluation: each read starts the stream again.
        """
        return torch.Generator().manual_seed(derive_seed(self.seed, self.label))

    def forward(self, source: Tensor) -> Tensor:
        """An extra forward pass, with gradients; the model's running statistics do not change."""
        with frozen_statistics(self.model):
            return self.run(source)

    def seen_by(self, label: str, strength: float, memory: Memory) -> Step:
        """The same step, with the strength and the memory of one regularizer."""
        return replace(self, label=label, strength=strength, memory=memory)


class Regularizer:
    """Base class of everything that constrains the solution beyond the data term.

    Subclasses are frozen dataclasses whose fields are parameters, never strengths: the strength
    is ``weight`` in ``params.yaml`` and is passed as ``step.strength``. Override only the methods
    it needs. A regularizer of strength 0 is not called at all. At the ``perturb`` seam the
    strength is the probability with which a sample is perturbed.
    """

    incompatible: ClassVar[frozenset[str]] = frozenset()
    """Names of regularizers it cannot be combined with."""
    whole_batch: ClassVar[bool] = False
    """Whether it needs all samples of a batch at once, so that a batch must not be split."""
    learns: ClassVar[bool] = False
    """Whether it changes the strengths of the others, which are then written to the history."""

    def problems(self, model: nn.Module) -> list[str]:
        """Reasons why it cannot be used with this network; empty if it can."""
        return []

    def collects(self, model: nn.Module) -> Sequence[str]:
        """Names of the layers whose outputs it needs as ``step.features``."""
        return ()

    def hides(self, model: nn.Module) -> Sequence[str]:
        """Names of the layers whose outputs :meth:`hidden` changes."""
        return ()

    def begin(self, step: Step) -> None:
        """Fill ``step.memory`` before the first step of a run that is not resumed."""

    def perturb(self, step: Step) -> Batch:
        """Before the forward pass: return the batch with changed inputs or targets."""
        return step.batch

    def hidden(self, layer: str, feature: Tensor, step: Step) -> Tensor:
        """During the forward pass: return the changed output of one of the layers it ``hides``."""
        return feature

    def target(self, target: Target, step: Step) -> Target:
        """Before the loss: return changed targets or voxel weights."""
        return target

    def penalty(self, step: Step) -> Tensor | None:
        """Return a scalar to add to the loss (times the strength), or None in this step."""
        return None

    def gradient(self, step: Step) -> None:
        """Between backward pass and optimizer: change the ``grad`` of the parameters."""

    def project(self, step: Step) -> None:
        """After the optimizer: change the parameters (proximal step, projection, pruning)."""

    def kept(self, model: nn.Module, memory: Memory) -> None:
        """Before a validation: change the weights of a copy of the network that may be released.

        The copy is of the moving average where there is one. It is what is validated and, if it is
        the best so far, what is kept; training goes on with the weights as they were. Pruning,
        rounding and reshaping at the end belong here: at :meth:`project` the moving average, or the
        best earlier weights, would undo them.
        """

    def schedule(self, progress: float) -> float:
        """Factor on the weight; ``progress`` runs from 0 at the first step to 1 at the last."""
        return 1.0

    def displacement(
        self, u: Tensor, spacing_mm: tuple[float, float, float], tissue: Tensor | None = None
    ) -> Tensor:
        """Penalty on a displacement ``u`` (B, 3, Z, Y, X) [mm]; a scalar.

        ``tissue`` (B, 1, Z, Y, X) [1] is a weight or relative stiffness per voxel.
        """
        return u.new_zeros(())

    def image(self, x: Tensor, spacing_mm: tuple[float, float, float]) -> Tensor:
        """Prior on an image ``x`` (B, C, [Z,] Y, X), summed over the voxels; a scalar."""
        return x.new_zeros(())

    def prox(self, x: Tensor, spacing_mm: tuple[float, float, float], step: float) -> Tensor:
        """Proximal map of :meth:`image`: ``argmin_v sum |v - x|^2 / 2 + step * image(v)``.

        A regularizer that has an ``image`` but no proximal map raises :class:`UsageError`: the
        identity would be that of another prior.
        """
        if type(self).image is not Regularizer.image:
            raise UsageError(
                f"{type(self).__name__} has no proximal map",
                rule="a proximal algorithm needs a prior whose proximal map is known",
                remedy="use an algorithm that follows the gradient of the prior",
                code="no-proximal-map",
            )
        return x


@dataclass(frozen=True, kw_only=True)
class Periodic(Regularizer):
    """A regularizer that acts at each ``every``-th step only, to save time.

    Parameters
    ----------
    every
        Act at each k-th step only, k times as strongly.
    """

    every: int = 1

    def __post_init__(self) -> None:
        if self.every < 1:
            raise ValueError(f"every must be at least 1, got {self.every}")

    def is_due(self, step: Step) -> bool:
        """Whether it acts in this step."""
        return step.number % self.every == 0


class PeriodicPenalty(Periodic):
    """A penalty that is added at each ``every``-th step only, ``every`` times as strongly.

    Its mean over a period is that of the penalty itself.
    """

    def penalty(self, step: Step) -> Tensor | None:
        """``every`` times :meth:`cost` in the steps in which it acts; a scalar."""
        if not self.is_due(step):
            return None
        cost = self.cost(step)
        return None if cost is None else self.every * cost

    def cost(self, step: Step) -> Tensor | None:
        """Return the penalty itself, a scalar, or None where there is nothing to penalise."""
        raise NotImplementedError


_SEAMS: dict[str, tuple[str, ...]] = {
    "perturb": ("perturb", "hidden"),
    "penalty": ("penalty",),
    "target": ("target",),
    "gradient": ("gradient",),
    "project": ("project",),
    "kept": ("kept",),
    "schedule": ("schedule",),
    "displacement": ("displacement",),
    "image": ("image", "prox"),
}


def seams_of(cls: type[Regularizer]) -> tuple[str, ...]:
    """The seams at which the class acts: those of which it overrides a method."""
    return tuple(
        seam
        for seam, methods in _SEAMS.items()
        if any(getattr(cls, method) is not getattr(Regularizer, method) for method in methods)
    )


def splits(cls: type[Regularizer]) -> bool:
    """Whether a batch may be evaluated in parts with this regularizer.

    One that changes gradients evaluates the objective of the whole batch again.
    """
    return not cls.whole_batch and "gradient" not in seams_of(cls)


def missing_layers(model: nn.Module, layers: Sequence[str]) -> list[str]:
    """A message for each name that is not a layer of the network, with the names that are."""
    known = [name for name, _ in model.named_modules() if name]
    messages = []
    for name in layers:
        if name not in known:
            near = nearest(name, known)
            hint = f"did you mean {near!r}? " if near else ""
            messages.append(f"no layer is called {name!r}; {hint}layers: {', '.join(known)}")
    return messages


def per_sample(values: Tensor, like: Tensor) -> Tensor:
    """``values`` (B,), one per sample, with the axes of ``like`` (B, ...) for broadcasting."""
    return values.view(-1, *(1 for _ in range(like.ndim - 1)))


@contextlib.contextmanager
def frozen_statistics(model: nn.Module) -> Iterator[None]:
    """Normalise by the batch as in training, without updating running means and variances."""
    tracking = [
        module
        for module in model.modules()
        if isinstance(module, nn.modules.batchnorm._NormBase) and module.track_running_stats
    ]
    for module in tracking:
        module.track_running_stats = False
    try:
        yield
    finally:
        for module in tracking:
            module.track_running_stats = True
