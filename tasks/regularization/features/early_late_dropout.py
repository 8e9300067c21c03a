"""Early dropout against underfitting, late dropout against overfitting."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import torch
from torch import Tensor, nn

from synthct.tasks.pipeline.randomness import derive_seed
from synthct.tasks.regularization import REGULARIZERS
from synthct.tasks.regularization.base import Step
from synthct.tasks.regularization.layers import BOTTLENECK, LayerOutputs, Role

Phase = Literal["early", "late"]


@REGULARIZERS.register("early_late_dropout")
@dataclass(frozen=True)
class EarlyLateDropout(LayerOutputs):
    r"""Dropout in one part of the run only: :math:`h \mapsto h\,m/(1-p)`, :math:`m \sim B(1-p)`.

    With drop rate *p* (the strength), progress *s* and boundary *c*, the rate in effect is

    .. math:: p\,\max(0, 1 - s/c) \ \text{(early)}, \qquad p\,[s \ge c] \ \text{(late)}.

    Early dropout aligns the gradients of small batches, and a model that underfits reaches a
    lower training loss than without; late dropout lets a model that overfits learn first and
    regularizes it afterwards. The tests show the second claim; the first was not found on networks
    of test size. Whole channels are dropped, as is usual for convolutions (one draw
    of :math:`m` per sample and channel), or single elements. Features keep their shape (B, C, ...)
    and unit; nothing is dropped at prediction.

    For synthetic CT: early for short runs and small networks, late for few patients.

    Acts at ``perturb`` and ``schedule``; the strength is the drop rate, in [0, 1).

    Parameters
    ----------
    phase
        ``early`` (decreases linearly to zero) or ``late``.
    boundary
        Fraction of the run at which the early phase ends or the late phase begins.
    unit
        What is dropped: ``channel`` or ``element``.
    layers
        Names of the layers to whose output dropout is applied; empty: the bottleneck, the
        activation after the widest convolution.

    References
    ----------
    Liu, Xu, Jin, Shen & Darrell, Dropout Reduces Underfitting, ICML 2023, arXiv:2303.01500.
    """

    phase: Phase = "early"
    boundary: float = 0.2
    unit: Literal["channel", "element"] = "channel"
    layers: tuple[str, ...] = ()

    role: ClassVar[Role] = BOTTLENECK
    incompatible: ClassVar[frozenset[str]] = frozenset({"jacobian_nuclear_norm"})

    def __post_init__(self) -> None:
        if self.phase not in get_args(Phase):
            raise ValueError(f"phase must be early or late, got {self.phase!r}")
        if not 0 < self.boundary <= 1:
            raise ValueError(f"boundary must be in (0, 1], got {self.boundary}")
        if self.unit not in ("channel", "element"):
            raise ValueError(f"unit must be channel or element, got {self.unit!r}")

    def named(self) -> Sequence[str]:
        """``layers``."""
        return self.layers

    def schedule(self, progress: float) -> float:
        """Factor on the drop rate."""
        if self.phase == "early":
            return max(0.0, 1 - progress / self.boundary)
        return float(progress >= self.boundary)

    def hides(self, model: nn.Module) -> Sequence[str]:
        """The layers to which dropout is applied."""
        return self.chosen(model)

    def hidden(self, layer: str, feature: Tensor, step: Step) -> Tensor:
        """Drop channels or elements of ``feature`` (B, C, ...)."""
        # One random stream per layer, so that layers of equal width drop different channels.
        rng = torch.Generator().manual_seed(derive_seed(step.seed, step.label, layer))
        shape = feature.shape if self.unit == "element" else feature.shape[:2]
        kept = torch.rand(shape, generator=rng) >= step.strength
        kept = kept.view(*shape, *(1 for _ in range(feature.ndim - len(shape))))
        return feature * kept.to(feature.device) / max(1 - step.strength, torch.finfo().eps)
