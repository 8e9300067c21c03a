"""Layers of a network by their role, so that a default needs no network's names."""

from __future__ import annotations

from torch import nn

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


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
