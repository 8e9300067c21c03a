"""Normalisations and activations that every network offers as options."""

from __future__ import annotations

from typing import Literal

from torch import nn

Norm = Literal["batch", "instance", "group"]
Activation = Literal["relu", "leaky_relu", "mish", "silu"]

GROUPS = 8
"""Largest number of groups of a group norm; fewer where the channels do not divide."""


def norm_layer(kind: Norm, channels: int) -> nn.Module:
    """A 2-D normalisation with learned scale and shift: ``2 * channels`` parameters."""
    if kind == "batch":
        return nn.BatchNorm2d(channels)
    if kind == "instance":
        # The same function as InstanceNorm2d, without its copies of channels-last tensors.
        return nn.GroupNorm(channels, channels)
    groups = next(g for g in range(min(GROUPS, channels), 0, -1) if channels % g == 0)
    return nn.GroupNorm(groups, channels)


def activation_layer(kind: Activation) -> nn.Module:
    """An activation without parameters."""
    kinds: dict[str, type[nn.Module]] = {
        "relu": nn.ReLU,
        "leaky_relu": nn.LeakyReLU,
        "mish": nn.Mish,
        "silu": nn.SiLU,
    }
    return kinds[kind]()


def conv3x3(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
    """3 x 3 convolution that keeps the size (at stride 1), without bias: a norm follows."""
    return nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)


def conv_norm_act(inputs: int, outputs: int, norm: Norm, activation: Activation) -> nn.Sequential:
    """3 x 3 convolution, normalisation, activation."""
    return nn.Sequential(
        conv3x3(inputs, outputs), norm_layer(norm, outputs), activation_layer(activation)
    )
