"""Nested dropout: the first channels must do alone what the others may only refine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from synthct.tasks.regularization import REGULARIZERS
from synthct.tasks.regularization.base import Step
from synthct.tasks.regularization.layers import LayerOutput


@REGULARIZERS.register("nested_dropout")
@dataclass(frozen=True)
class NestedDropout(LayerOutput):
    r"""Only the first *k* of *C* channels are kept, :math:`p(k) \propto \exp(-(k / sC)^2)`.

    *k* from 1 to *C* is drawn for each sample, *s* is ``spread``; all later channels are zero.
    A channel is learned only as far as those before it leave something to explain: features come
    out ordered by importance, and most of what is memorised, as against learned, has no room
    in the first ones. The paper compresses the features of a classifier against wrong labels;
    an adaptation to image targets. Features keep shape (B, C, ...) and unit; all channels are
    used when predicting, so leave some samples whole (strength below 1).

    For synthetic CT: misregistered pairs are wrong labels; what they teach differs from case to
    case and is the least compressible part.

    Acts at ``perturb``; the strength is the probability that a sample is truncated, in [0, 1].

    Parameters
    ----------
    spread
        Width of the distribution of *k*, as a part of the channels.
    layer
        Whose output is truncated; empty: the last activation before the last convolution.

    References
    ----------
    Chen, Hu, Shen, Ai & Suykens, Compressing Features for Learning With Noisy Labels, IEEE
    Trans. Neural Netw. Learn. Syst. (2022), arXiv:2206.13140; after Rippel, Gelbart & Adams,
    Learning Ordered Representations with Nested Dropout, ICML 2014.
    """

    spread: float = 0.5

    incompatible: ClassVar[frozenset[str]] = frozenset({"jacobian_nuclear_norm"})

    def __post_init__(self) -> None:
        if self.spread <= 0:
            raise ValueError(f"spread must be positive, got {self.spread}")

    def hides(self, model: nn.Module) -> Sequence[str]:
        """The layer whose output is truncated."""
        return self.chosen(model)

    def hidden(self, layer: str, feature: Tensor, step: Step) -> Tensor:
        """Zero the later channels of ``feature`` (B, C, ...)."""
        rng = step.rng
        samples, channels = feature.shape[:2]
        chosen = torch.rand(samples, generator=rng) < step.strength
        drawn = torch.multinomial(self._chances(channels), samples, replacement=True, generator=rng)
        kept = torch.where(chosen, drawn + 1, channels).view(-1, 1)
        mask = torch.arange(channels) < kept
        mask = mask.view(samples, channels, *(1 for _ in range(feature.ndim - 2)))
        return feature * mask.to(feature.device)

    def _chances(self, channels: int) -> Tensor:
        """Probability of keeping 1, 2, ..., C channels; (C,)."""
        k = torch.arange(1, channels + 1, dtype=torch.float64)
        chances = torch.exp(-((k / (self.spread * channels)) ** 2))
        return chances / chances.sum()
