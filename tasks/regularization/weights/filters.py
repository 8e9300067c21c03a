"""Layers seen as banks of filters: a row for each output channel."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from torch import Tensor, nn

from synthct.tasks.regularization.base import missing_layers
from synthct.tasks.regularization.weights.norm_loss import FILTERED


def filtered(model: nn.Module, layers: Sequence[str] = ()) -> Iterator[tuple[str, nn.Module]]:
    """Convolutions and linear layers by name: those of ``layers``, or all when it is empty."""
    for name, module in model.named_modules():
        if isinstance(module, FILTERED) and (not layers or name in layers):
            yield name, module


def filter_matrices(model: nn.Module, layers: Sequence[str] = ()) -> Iterator[tuple[str, Tensor]]:
    """Their weights as matrices (output channels, weights of one filter)."""
    for name, module in filtered(model, layers):
        weight = module.weight
        assert isinstance(weight, Tensor)
        yield name, weight.flatten(1)


def layer_faults(model: nn.Module, layers: Sequence[str]) -> list[str]:
    """Named layers that are absent, or hold no filters."""
    missing = missing_layers(model, layers)
    if missing:
        return missing
    bare = [name for name in layers if not isinstance(model.get_submodule(name), FILTERED)]
    return [f"layer {name!r} is no convolution and no linear layer" for name in bare]


def require_every(every: int) -> None:
    """Complain about a period below one step."""
    if every < 1:
        raise ValueError(f"every must be at least 1, got {every}")
