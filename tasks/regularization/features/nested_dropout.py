"""Nested dropout: features ordered by importance, by dropping all channels after a random one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from synthct.tasks.regularization import REGULARIZERS
from synthct.tasks.regularization.base import Memory, Step
from synthct.tasks.regularization.layers import LayerOutput


@REGULARIZERS.register("nested_dropout")
@dataclass(frozen=True)
class NestedDropout(LayerOutput):
    r"""Only the first *k* of *C* channels are kept, :math:`p(k) \propto \exp(-(k / sC)^2)`.

    *k* from 1 to *C* is drawn for each sample, *s* is ``spread``; all later channels are zero.
    A channel learns only what those before it do not explain, so that features are ordered by
    importance, and memorised details do not fit into the first ones. The paper compresses the
    features of a classifier against label noise; here the targets are images: an adaptation.
    Features keep shape (B, C, ...) and unit.

    The network that may be released answers with the first :math:`K^*` channels, as in the
    paper: of eight evenly spaced numbers the one with the least error on a batch of
    held-back patches that was drawn at the start; the last convolution's weights for all later
    channels are set to zero. Where ``layer`` names another layer, all channels answer, and some
    samples should keep all of them (strength below 1).

    For synthetic CT: misregistered pairs are wrong labels; their errors differ from case to case
    and are the least compressible part.

    Acts at ``perturb`` and ``kept``; the strength is the probability that a sample is truncated,
    in [0, 1].

    Parameters
    ----------
    spread
        Width of the distribution of *k*, as a fraction of the channels.
    layer
        Layer whose output is truncated; empty: the last activation before the last convolution.

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
        drawn = torch.multinomial(
            self._probabilities(channels), samples, replacement=True, generator=rng
        )
        kept = torch.where(chosen, drawn + 1, channels).view(-1, 1)
        mask = torch.arange(channels) < kept
        mask = mask.view(samples, channels, *(1 for _ in range(feature.ndim - 2)))
        return feature * mask.to(feature.device)

    def begin(self, step: Step) -> None:
        """Remember a batch of held-back patches, on which the number of channels is chosen."""
        if not self.layer:
            held = step.validation()
            step.memory.update({"source": held.source, "target": held.target, "mask": held.mask})

    def kept(self, model: nn.Module, memory: Memory) -> None:
        """Leave the first channels, as many as have the least held-back error, and zero others."""
        head = _head(model)
        if "source" not in memory or head is None:
            return
        whole = head.weight.detach().clone()
        channels = whole.shape[1]
        numbers = sorted({max(1, channels * n // CANDIDATES) for n in range(1, CANDIDATES + 1)})

        def error(number: int) -> float:
            head.weight.copy_(whole)
            head.weight[:, number:] = 0
            return _held_back_error(model, memory)

        best = min(reversed(numbers), key=error)  # of equal ones the larger
        error(best)

    def _probabilities(self, channels: int) -> Tensor:
        """Probability of keeping 1, 2, ..., C channels; (C,)."""
        k = torch.arange(1, channels + 1, dtype=torch.float64)
        weights = torch.exp(-((k / (self.spread * channels)) ** 2))
        return weights / weights.sum()


CANDIDATES = 8
"""Numbers of channels that are tried at prediction."""


def _head(model: nn.Module) -> nn.Conv2d | nn.Conv3d | None:
    """The last convolution."""
    found = [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.Conv3d)]
    return found[-1] if found else None


def _held_back_error(model: nn.Module, memory: Memory) -> float:
    """Mean absolute error over the body of the held-back patches [network units]."""
    like = next(model.parameters())
    source, target, mask = (memory[key].to(like.device) for key in ("source", "target", "mask"))
    training = model.training
    model.eval()
    try:
        error = (model(source.to(like.dtype)) - target).abs() * mask
    finally:
        model.train(training)
    return float(error.sum() / mask.sum().clamp(min=1))
