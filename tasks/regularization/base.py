"""What a regularizer sees of one training step, and the moments at which it may act."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from torch import Tensor, nn

from synthct.data.errors import nearest
from synthct.tasks.models.contracts import Batch, Target
from synthct.tasks.pipeline.randomness import derive_seed

Memory = dict[str, Tensor]
"""Tensors that one regularizer keeps from step to step; saved in every checkpoint."""


@dataclass(frozen=True, eq=False)
class Step:
    """One training step, as one regularizer sees it.

    Parameters
    ----------
    batch
        The patches (after the perturbations of the regularizers listed before).
    model
        The network in training mode.
    number, total, epoch
        This step, the number of steps, and how often the training set has been drawn.
    seed
        Of this step; streams for each regularizer derive from it.
    run
        The network under the run's precision. Regularizers call :meth:`forward` instead.
    objective
        Evaluates losses and penalties again at the model's present weights, on the same batch
        with the same random numbers, leaving the model's running statistics alone.
    validation
        Draws a batch of validation patches (for strengths that are learned).
    prediction, features, value
        Known once the forward pass is done: the output, the outputs of the layers that this
        regularizer collects, and the objective up to here (losses, penalties listed before).
    label, strength, memory
        Of this regularizer: its name in the history, weight times schedule, and its tensors.
    strengths
        Weight of every regularizer by label. A learned schedule may change its numbers.
    learning_rate
        Of the optimizer in this step, for regularizers that train something of their own.
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
        """A new generator (CPU) of this regularizer's stream in this step.

        It does not depend on the other regularizers, nor on what was drawn before, so that
        evaluating the objective again meets the same numbers. Draw from one generator only.
        """
        return torch.Generator().manual_seed(derive_seed(self.seed, self.label))

    def forward(self, source: Tensor) -> Tensor:
        """An extra pass, with gradients; running statistics of the model stay as they are."""
        with frozen_statistics(self.model):
            return self.run(source)

    def seen_by(self, label: str, strength: float, memory: Memory) -> Step:
        """The same step, with the strength and the memory of one regularizer."""
        return replace(self, label=label, strength=strength, memory=memory)


class Regularizer:
    """Any idea that constrains the solution beyond its data term.

    Subclasses are frozen dataclasses whose fields are parameters, never strengths: those stand
    in ``params.yaml`` as ``weight`` and arrive as ``step.strength``. Override only the moments
    it acts at. A regularizer of strength 0 is not called at all. At the ``perturb`` seam the
    strength is the probability with which a sample is perturbed.
    """

    paper: ClassVar[int | None] = None
    """Row of the catalogue of papers it comes from."""
    incompatible: ClassVar[frozenset[str]] = frozenset()
    """Names of regularizers it cannot be combined with."""
    whole_batch: ClassVar[bool] = False
    """Whether it must see all samples of a batch at once, so that no batch may be divided."""

    def faults(self, model: nn.Module) -> list[str]:
        """What keeps it from working with this network; empty when nothing does."""
        return []

    def collects(self, model: nn.Module) -> Sequence[str]:
        """Names of the layers whose outputs it wants as ``step.features``."""
        return ()

    def hides(self, model: nn.Module) -> Sequence[str]:
        """Names of the layers whose outputs it perturbs through :meth:`hidden`."""
        return ()

    def begin(self, step: Step) -> None:
        """Fill ``step.memory`` before the first step of a run that has nothing to resume."""

    def perturb(self, step: Step) -> Batch:
        """Before the forward pass: other inputs or targets."""
        return step.batch

    def hidden(self, layer: str, feature: Tensor, step: Step) -> Tensor:
        """During the forward pass: another output of one of the layers it ``hides``."""
        return feature

    def target(self, target: Target, step: Step) -> Target:
        """Before the loss: other targets or voxel weights, for noisy or misregistered pairs."""
        return target

    def penalty(self, step: Step) -> Tensor | None:
        """Return a scalar added to the loss (times the strength), or nothing this time."""
        return None

    def gradient(self, step: Step) -> None:
        """Between backward pass and optimizer: change the parameters' ``grad``."""

    def project(self, step: Step) -> None:
        """After the optimizer: proximal step, projection, pruning of the parameters."""

    def schedule(self, progress: float) -> float:
        """Factor on the weight over the run; ``progress`` grows from 0 to 1."""
        return 1.0

    def displacement(
        self, u: Tensor, spacing_mm: tuple[float, float, float], tissue: Tensor | None = None
    ) -> Tensor:
        """Penalty on a displacement ``u`` (B, 3, Z, Y, X) [mm]; a scalar."""
        return u.new_zeros(())

    def image(self, x: Tensor, spacing_mm: tuple[float, float, float]) -> Tensor:
        """Prior on an image ``x`` (B, C, Z, Y, X); a scalar."""
        return x.new_zeros(())

    def prox(self, x: Tensor, spacing_mm: tuple[float, float, float], step: float) -> Tensor:
        """``argmin_v |v - x|^2 / 2 + step * image(v)``."""
        return x


_SEAMS: dict[str, tuple[str, ...]] = {
    "perturb": ("perturb", "hidden"),
    "penalty": ("penalty",),
    "target": ("target",),
    "gradient": ("gradient",),
    "project": ("project",),
    "schedule": ("schedule",),
    "displacement": ("displacement",),
    "image": ("image", "prox"),
}


def seams_of(cls: type[Regularizer]) -> tuple[str, ...]:
    """At which seams the class acts: those whose moments it overrides."""
    return tuple(
        seam
        for seam, moments in _SEAMS.items()
        if any(getattr(cls, moment) is not getattr(Regularizer, moment) for moment in moments)
    )


def splits(cls: type[Regularizer]) -> bool:
    """Whether a batch may be evaluated part by part under it.

    What changes gradients evaluates the objective of the whole batch again.
    """
    return not cls.whole_batch and "gradient" not in seams_of(cls)


def missing_layers(model: nn.Module, layers: Sequence[str]) -> list[str]:
    """A fault for each name that is no layer of the network, with those that are."""
    known = [name for name, _ in model.named_modules() if name]
    faults = []
    for name in layers:
        if name not in known:
            near = nearest(name, known)
            hint = f"did you mean {near!r}? " if near else ""
            faults.append(f"no layer is called {name!r}; {hint}layers: {', '.join(known)}")
    return faults


@contextlib.contextmanager
def frozen_statistics(model: nn.Module) -> Iterator[None]:
    """Normalise by the batch as in training, but leave the running means and variances alone."""
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
