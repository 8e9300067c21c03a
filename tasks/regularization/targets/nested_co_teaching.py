"""Nested co-teaching: two compressed networks choose for each other the patches to learn from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor, nn

from synthct.tasks.models.contracts import Target
from synthct.tasks.regularization import REGULARIZERS
from synthct.tasks.regularization.base import Memory, Step, frozen_statistics
from synthct.tasks.regularization.features.nested_dropout import NestedDropout

WEIGHT, MEAN, SQUARE, SLOPE = "weight/", "mean/", "square/", "slope/"
"""In the memory, before a parameter's name: the peer's weights, Adam's averages, the gradient."""

COUNT, NUMBER, KEPT = "count", "number", "kept"
"""In the memory: the peer's updates; step of the pending gradient, and what it keeps for us."""

DECAYS, SOFTENING = (0.9, 0.999), 1e-8
"""Of Adam, which trains the peer."""


@REGULARIZERS.register("nested_co_teaching")
@dataclass(frozen=True)
class NestedCoTeaching(NestedDropout):
    r"""A patch counts when the other network finds it easy, :math:`w_i \gets w_i\,[i \in S(g)]`.

    *g* is a peer of the same architecture with other first weights, trained beside *f* on the
    same patches. With the mean absolute error :math:`e_i(g)` over the body of patch *i*,
    :math:`S(g)` are the :math:`\lceil (1 - R)\,B \rceil` patches of the batch with the smallest
    error; *f* learns from :math:`S(g)` and *g* from :math:`S(f)`. Both are truncated by nested
    dropout (``nested_dropout``), so that they agree early on what compresses and not on what is
    memorised. *R* is 0 in the first part ``alone`` of the run, in which both are trained on
    everything, and then rises to ``forget`` over the part ``ramp``. As each network filters
    with the other's eyes, its own errors are not fed back to it.

    An adaptation: the paper classifies images and drops single ones, here patches of a
    regression; its two phases are one run. The peer's loss is the mean absolute error, its
    optimizer Adam at the run's learning rate. Peer and averages lie in the checkpoint: three
    more copies of the weights, one more forward and one more backward pass. No unit.

    For synthetic CT: a pair that registration left centimetres apart is a wrong label for the
    whole patch; no voxel of it should teach.

    Acts at ``perturb`` (the truncation, whose probability is the strength, in [0, 1]) and at
    ``target``; the peer learns at ``project``.

    Parameters
    ----------
    forget
        Largest part *R* of a batch that is left out, about the part of bad patches, in [0, 1).
        A batch of *B* needs ``forget`` of at least 1 / *B* for anything to be left out.
    alone
        Part of the run before the selection begins, in [0, 1).
    ramp
        Part of the run over which *R* rises.
    spread
        Width of the distribution of the channels kept, as a part of the channels.
    layer
        Whose output is truncated; empty: the last activation before the last convolution.

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

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("forget", "alone"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must be in [0, 1), got {getattr(self, name)}")
        if self.ramp < 0:
            raise ValueError(f"ramp must not be negative, got {self.ramp}")

    def begin(self, step: Step) -> None:
        """Draw the peer."""
        self._draw_missing(step)

    def target(self, target: Target, step: Step) -> Target:
        """Leave out what the peer finds hard; and find the peer's gradient on what we find easy."""
        memory = step.memory
        if NUMBER not in memory or int(memory[NUMBER]) != step.number:
            self._draw_missing(step)
            self._look(target, step)
        kept = memory[KEPT].to(target.weight)
        return replace(target, weight=target.weight * _as_map(kept, target.weight))

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
        """*R* at this part of the run."""
        since = progress - self.alone
        if since < 0:
            return 0.0
        return self.forget * min(1.0, since / self.ramp if self.ramp else 1.0)

    def _look(self, target: Target, step: Step) -> None:
        """Who keeps which patches, once per step: evaluations of the same step meet the same."""
        memory = step.memory
        names = list(_names(memory))
        with torch.enable_grad():
            weights = {name: memory[WEIGHT + name].clone().requires_grad_() for name in names}
            hard = _errors(self._said(step, weights), target)
            left_out = self.forgotten(step.progress)
            ours = _easiest(_errors(step.prediction.detach(), target), left_out)
            loss = (hard * ours).sum() / ours.sum()
            slopes = torch.autograd.grad(
                loss, list(weights.values()), allow_unused=True, materialize_grads=True
            )
        memory |= {SLOPE + name: slope for name, slope in zip(names, slopes, strict=True)}
        memory[KEPT] = _easiest(hard.detach(), left_out)
        memory[NUMBER] = torch.tensor(step.number)

    def _said(self, step: Step, weights: dict[str, Tensor]) -> Tensor:
        """The peer's prediction of this batch, truncated by a draw of its own."""
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
                there = {f"model.{name}": weight for name, weight in weights.items()}
                said: Tensor = torch.func.functional_call(network, there, (step.batch.source,))
        finally:
            for handle in handles:
                handle.remove()
        return said.to(step.prediction.dtype)

    def _draw_missing(self, step: Step) -> None:
        """First weights: each tensor's numbers in another order, so of the same distribution."""
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
    """The run's forward pass as a module, so that other weights can be put into its network."""

    def __init__(self, step: Step) -> None:
        super().__init__()
        self.model = step.model
        # In a tuple: were the network itself given, it would be registered (and swapped) twice.
        self._run = (step.run,)

    def forward(self, source: Tensor) -> Tensor:
        return self._run[0](source)


def _names(memory: Memory) -> Iterator[str]:
    return (key.removeprefix(WEIGHT) for key in list(memory) if key.startswith(WEIGHT))


def _errors(prediction: Tensor, target: Target) -> Tensor:
    """Weighted mean absolute error of each sample, (B,)."""
    error = ((prediction - target.value).abs() * target.weight).flatten(1).sum(dim=1)
    return error / target.weight.flatten(1).sum(dim=1).clamp(min=1)


def _easiest(errors: Tensor, left_out: float) -> Tensor:
    """1 for the samples with the smallest errors, 0 for the part ``left_out``; (B,)."""
    dropped = int(left_out * len(errors) + 1e-6)
    kept = torch.ones_like(errors)
    if dropped:
        kept[errors.argsort(descending=True, stable=True)[:dropped]] = 0
    return kept


def _as_map(kept: Tensor, like: Tensor) -> Tensor:
    return kept.view(-1, *(1 for _ in range(like.ndim - 1)))


def _adam(memory: Memory, name: str, count: int, learning_rate: float) -> None:
    slope = memory.pop(SLOPE + name)
    first, second = DECAYS
    for key, decay, value in ((MEAN, first, slope), (SQUARE, second, slope.square())):
        memory[key + name] = memory[key + name].to(slope).lerp(value, 1 - decay)
    mean = memory[MEAN + name] / (1 - first**count)
    size = (memory[SQUARE + name] / (1 - second**count)).sqrt() + SOFTENING
    memory[WEIGHT + name] = memory[WEIGHT + name].to(slope) - learning_rate * mean / size
