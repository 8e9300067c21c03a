"""Nested co-teaching: two networks select for each other the patches to learn from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor, nn

from synthct.tasks.models.contracts import Target
from synthct.tasks.regularization import REGULARIZERS
from synthct.tasks.regularization.base import (
    Memory,
    Regularizer,
    Step,
    frozen_statistics,
    per_sample,
)
from synthct.tasks.regularization.features.nested_dropout import NestedDropout

WEIGHT, MEAN, SQUARE, SLOPE = "weight/", "mean/", "square/", "slope/"
"""Prefixes of keys of the memory: weights of the peer, averages of Adam, gradient."""

COUNT, NUMBER, KEPT = "count", "number", "kept"
"""Keys of the memory: updates of the peer; step of the pending gradient; patches selected."""

DECAYS, SOFTENING = (0.9, 0.999), 1e-8
"""Parameters of Adam, which trains the peer."""


@REGULARIZERS.register("nested_co_teaching")
@dataclass(frozen=True)
class NestedCoTeaching(NestedDropout):
    r"""A patch counts if the other network fits it well, :math:`w_i \gets w_i\,[i \in S(g)]`.

    *g* is a peer of the same architecture with other initial weights, trained together with *f*
    on the same patches. With the mean absolute error :math:`e_i(g)` over the body of patch *i*,
    :math:`S(g)` are the :math:`\lceil (1 - R)\,B \rceil` patches of the batch with the smallest
    error; *f* learns from :math:`S(g)` and *g* from :math:`S(f)`. Both are truncated by nested
    dropout (``nested_dropout``), so that early in training they agree on compressible structure
    and not on memorised details. *R* is 0 in the first fraction ``alone`` of the run, in which
    both are trained on all patches, and then increases to ``forget`` over the fraction ``ramp``.
    As each network is filtered by the other, its own errors are not reinforced.

    An adaptation: the paper classifies and drops images, here patches of a regression are
    dropped; its two phases are one run. The peer's loss is the mean absolute error, its
    optimizer Adam at the learning rate of the run. Peer and averages are stored in the
    checkpoint: three more copies of the weights; and they cost one more forward and one more
    backward pass. No unit.

    For synthetic CT: a pair that is misregistered by centimetres is a wrong label for the whole
    patch, of which no voxel should be used.

    Acts at ``perturb`` (the truncation, whose probability is the strength, in [0, 1]) and at
    ``target``; the peer learns at ``project``.

    Parameters
    ----------
    forget
        Largest fraction *R* of a batch that is excluded, about that of bad patches, in [0, 1).
        A batch of *B* needs ``forget`` of at least 1 / *B* for any patch to be excluded.
    alone
        Fraction of the run before the selection begins, in [0, 1).
    ramp
        Fraction of the run over which *R* increases.
    spread
        Width of the distribution of the number of channels kept, as a fraction of the channels.
    layer
        Layer whose output is truncated; empty: the last activation before the last convolution.

    References
    ----------
    Chen, Shen, Hu & Suykens, Boosting Co-teaching with Compression Regularization for Label
    Noise, CVPR Workshops 2021, arXiv:2104.13766; after Han et al., Co-teaching, NeurIPS 2018,
    arXiv:1804.06872.
    """

    forget: float = 0.2
    alone: float = 0.3
    ramp: float = 0.1

    incompatible: ClassVar[frozenset[str]] = frozenset({"nested_dropout", "jacobian_nuclear_norm"})
    whole_batch: ClassVar[bool] = True
    kept = Regularizer.kept  # all channels answer

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("forget", "alone"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must be in [0, 1), got {getattr(self, name)}")
        if self.ramp < 0:
            raise ValueError(f"ramp must not be negative, got {self.ramp}")

    def begin(self, step: Step) -> None:
        """Initialise the peer."""
        self._draw_missing(step)

    def target(self, target: Target, step: Step) -> Target:
        """Exclude patches with large errors of the peer, whose own gradient is computed as well."""
        memory = step.memory
        if NUMBER not in memory or int(memory[NUMBER]) != step.number:
            self._draw_missing(step)
            self._select(target, step)
        kept = memory[KEPT].to(target.weight)
        return replace(target, weight=target.weight * per_sample(kept, target.weight))

    def project(self, step: Step) -> None:
        """One step of Adam for the peer."""
        memory = step.memory
        if memory.pop(NUMBER, None) is None:
            return
        del memory[KEPT]
        memory[COUNT] = memory[COUNT] + 1
        for name in _names(memory):
            _adam(memory, name, int(memory[COUNT]), step.learning_rate)

    def forgotten(self, progress: float) -> float:
        """*R* at this progress of the run."""
        since = progress - self.alone
        if since < 0:
            return 0.0
        return self.forget * min(1.0, since / self.ramp if self.ramp else 1.0)

    def _select(self, target: Target, step: Step) -> None:
        """Select patches and compute the peer's gradient, once per step."""
        memory = step.memory
        names = list(_names(memory))
        with torch.enable_grad():
            weights = {name: memory[WEIGHT + name].clone().requires_grad_() for name in names}
            hard = _errors(self._peer_prediction(step, weights), target)
            excluded = self.forgotten(step.progress)
            ours = _easiest(_errors(step.prediction.detach(), target), excluded)
            loss = (hard * ours).sum() / ours.sum()
            gradients = torch.autograd.grad(
                loss, list(weights.values()), allow_unused=True, materialize_grads=True
            )
        memory |= {SLOPE + name: gradient for name, gradient in zip(names, gradients, strict=True)}
        memory[KEPT] = _easiest(hard.detach(), excluded)
        memory[NUMBER] = torch.tensor(step.number)

    def _peer_prediction(self, step: Step, weights: dict[str, Tensor]) -> Tensor:
        """Prediction of the peer for this batch, with a truncation of its own."""
        view = replace(step, label=f"{step.label}/peer")

        def truncate(_module: nn.Module, _inputs: object, output: Tensor) -> Tensor:
            return self.hidden("", output, view)

        network = _Run(step)
        handles = [
            step.model.get_submodule(name).register_forward_hook(truncate)
            for name in self.hides(step.model)
        ]
        try:
            with frozen_statistics(step.model):
                renamed = {f"model.{name}": weight for name, weight in weights.items()}
                predicted: Tensor = torch.func.functional_call(
                    network, renamed, (step.batch.source,)
                )
        finally:
            for handle in handles:
                handle.remove()
        return predicted.to(step.prediction.dtype)

    def _draw_missing(self, step: Step) -> None:
        """Initial weights: a permutation of those of each tensor, so of the same distribution."""
        if COUNT in step.memory:
            return
        rng = step.rng
        for name, weight in step.model.named_parameters():
            order = torch.randperm(weight.numel(), generator=rng).to(weight.device)
            shuffled = weight.detach().flatten()[order].view(weight.shape)
            step.memory[WEIGHT + name] = shuffled.clone()
            step.memory[MEAN + name] = torch.zeros_like(shuffled)
            step.memory[SQUARE + name] = torch.zeros_like(shuffled)
        step.memory[COUNT] = torch.zeros((), dtype=torch.int64)


class _Run(nn.Module):
    """The forward pass of the run as a module, to call its network with other weights."""

    def __init__(self, step: Step) -> None:
        super().__init__()
        self.model = step.model
        # In a tuple, so that the network is not registered as a submodule a second time.
        self._run = (step.run,)

    def forward(self, source: Tensor) -> Tensor:
        return self._run[0](source)


def _names(memory: Memory) -> Iterator[str]:
    return (key.removeprefix(WEIGHT) for key in list(memory) if key.startswith(WEIGHT))


def _errors(prediction: Tensor, target: Target) -> Tensor:
    """Weighted mean absolute error of each sample, (B,)."""
    error = ((prediction - target.value).abs() * target.weight).flatten(1).sum(dim=1)
    return error / target.weight.flatten(1).sum(dim=1).clamp(min=1)


def _easiest(errors: Tensor, excluded: float) -> Tensor:
    """1 for the samples with the smallest errors, 0 for the fraction ``excluded``; (B,)."""
    dropped = int(excluded * len(errors) + 1e-6)
    kept = torch.ones_like(errors)
    if dropped:
        kept[errors.argsort(descending=True, stable=True)[:dropped]] = 0
    return kept


def _adam(memory: Memory, name: str, count: int, learning_rate: float) -> None:
    gradient = memory.pop(SLOPE + name)
    first, second = DECAYS
    for key, decay, value in ((MEAN, first, gradient), (SQUARE, second, gradient.square())):
        memory[key + name] = memory[key + name].to(gradient).lerp(value, 1 - decay)
    mean = memory[MEAN + name] / (1 - first**count)
    size = (memory[SQUARE + name] / (1 - second**count)).sqrt() + SOFTENING
    memory[WEIGHT + name] = memory[WEIGHT + name].to(gradient) - learning_rate * mean / size
