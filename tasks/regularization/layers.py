"""Layers of a network by their role, and seen as banks of filters."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from torch import Tensor, nn

from synthct.tasks.regularization.base import missing_layers

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)

FILTERED = (*CONVOLUTIONS, nn.Linear)
"""Layers whose weights are filters along their first axis."""


def activations(model: nn.Module) -> list[str]:
    """Names of all activations, in the order in which they were registered."""
    return [name for name, module in model.named_modules() if _is_activation(module)]


def before_head(model: nn.Module) -> list[str]:
    """The last activation ahead of the last convolution: the features the output is read from.

    Every path from input to output leads through it, skips included. Empty without one.
    """
    seen: list[str] = []
    last: list[str] = []
    for name, module in model.named_modules():
        if _is_activation(module):
            seen.append(name)
        if isinstance(module, CONVOLUTIONS):
            last = seen[-1:]
    return last


def bottleneck(model: nn.Module) -> list[str]:
    """The activation that follows the last of the widest convolutions; empty without one."""
    widest, found = 0, []
    waiting = False
    for name, module in model.named_modules():
        if isinstance(module, CONVOLUTIONS) and module.out_channels >= widest:
            widest, waiting = module.out_channels, True
        elif waiting and _is_activation(module):
            found, waiting = [name], False
    return found


def _is_activation(module: nn.Module) -> bool:
    inside = type(module).__module__ == nn.ReLU.__module__
    return inside and not isinstance(module, nn.MultiheadAttention)


def faults_of_role(names: list[str], role: str) -> list[str]:
    """A fault when the network has no layer of the role that a default looks for."""
    return [] if names else [f"found no {role} in this network; name the layers it acts on"]


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
