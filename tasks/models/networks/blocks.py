"""Layers and blocks of the networks, the options they have in common, and their initial weights."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

HEAD_SD = 0.01
"""Standard deviation of the initial weights of the last convolution."""

WATER = -0.5
"""Output at the start of training: 0 HU when [-1024, 3071] HU are scaled to [-1, 1]."""

Norm = Literal["batch", "instance", "group"]
Activation = Literal["relu", "leaky_relu", "mish", "silu"]

GROUPS = 8
"""Groups of a group norm; fewer where the number of channels is not a multiple of it."""


@dataclass(frozen=True, kw_only=True)
class LayerOptions:
    """Options that the networks have in common.

    Parameters
    ----------
    norm
        ``batch``, ``instance`` or ``group``.
    activation
        ``relu``, ``leaky_relu``, ``mish`` or ``silu``.
    """

    norm: Norm = "batch"
    activation: Activation = "relu"

    def require_options(self, width: int, multiple: int, slices: int = 1) -> None:
        """Check them, the width and the number of slices.

        Raises
        ------
        ValueError
            If ``width`` is not a positive multiple of ``multiple``, ``slices`` is not odd, or
            ``norm`` or ``activation`` is unknown.
        """
        if slices < 1 or slices % 2 == 0:
            raise ValueError(f"slices must be odd, got {slices}")
        if width < multiple or width % multiple:
            raise ValueError(f"width must be a multiple of {multiple}, got {width}")
        for name, known in (("norm", get_args(Norm)), ("activation", get_args(Activation))):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} must be one of {known}, got {getattr(self, name)!r}")


def norm_layer(kind: Norm, channels: int) -> nn.Module:
    """A 2-D normalisation with learned scale and shift, ``2 * channels`` parameters."""
    if kind == "batch":
        return nn.BatchNorm2d(channels)
    if kind == "instance":
        # Equal to InstanceNorm2d, which copies channels-last tensors.
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
    """3 x 3 convolution with padding, without bias, since a norm follows."""
    return nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)


def conv_norm_act(inputs: int, outputs: int, norm: Norm, activation: Activation) -> nn.Sequential:
    """3 x 3 convolution, normalisation, activation."""
    return nn.Sequential(
        conv3x3(inputs, outputs), norm_layer(norm, outputs), activation_layer(activation)
    )


def monai_norm(kind: Norm) -> tuple[str, dict[str, Any]]:
    """A normalisation with learned scale and shift, in the form that MONAI's blocks expect."""
    options: dict[str, dict[str, Any]] = {
        "batch": {},
        "instance": {"affine": True},
        "group": {"num_groups": GROUPS},
    }
    return kind, options[kind]


def monai_conv_norm_act(
    dims: int, inputs: int, outputs: int, norm: Norm, activation: Activation
) -> nn.Sequential:
    """3^dims convolution with padding, normalisation, activation."""
    from monai.networks.blocks.convolutions import Convolution  # slow to import

    convolution = Convolution(
        dims, inputs, outputs, act=None, norm=monai_norm(norm), adn_ordering="N"
    )
    # Torch's activations, not MONAI's: regularizers find layers by their type.
    return nn.Sequential(convolution, activation_layer(activation))


def two_convs(
    dims: int, inputs: int, middle: int, outputs: int, norm: Norm, activation: Activation
) -> nn.Sequential:
    """Two convolutions: ``inputs`` -> ``middle`` -> ``outputs`` channels."""
    return nn.Sequential(
        monai_conv_norm_act(dims, inputs, middle, norm, activation),
        monai_conv_norm_act(dims, middle, outputs, norm, activation),
    )


def encode(
    stages: nn.ModuleList, x: Tensor, pool: Callable[[Tensor, int], Tensor]
) -> tuple[Tensor, list[Tensor]]:
    """Run the encoder of a U-Net; every stage after the first sees its input pooled by 2.

    Returns
    -------
    The features of the coarsest level, and those of the finer ones, finest first: the skip
    connections.
    """
    features: list[Tensor] = []
    for level, stage in enumerate(stages):
        x = stage(pool(x, 2) if level else x)
        features.append(x)
    return features.pop(), features


def decode(rise: nn.ModuleList, stages: nn.ModuleList, x: Tensor, skips: list[Tensor]) -> Tensor:
    """Run the decoder of a U-Net: up-sample, concatenate the skip connection, convolve."""
    for up, stage in zip(rise, stages, strict=True):
        x = stage(torch.cat([up(x), skips.pop()], dim=1))
    return x


def require_levels(levels: int) -> None:
    """Check the number of resolutions of a U-Net.

    Raises
    ------
    ValueError
        If there are fewer than two.
    """
    if levels < 2:
        raise ValueError(f"levels must be at least 2, got {levels}")


def initialise(model: nn.Module, head: nn.Module) -> None:
    """He's normal weights for the convolutions; a head whose output starts near water.

    Larger initial outputs saturate tanh, and a short run needs a fifth of its steps to recover.
    """
    kinds = (nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.ConvTranspose3d)
    for module in model.modules():
        if isinstance(module, kinds):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    initialise_head(head)


def initialise_head(head: nn.Module) -> None:
    """Small weights for a convolution whose output starts near water."""
    assert isinstance(head, nn.Conv2d | nn.Conv3d | nn.ConvTranspose2d | nn.ConvTranspose3d)
    nn.init.normal_(head.weight, std=HEAD_SD)
    nn.init.constant_(head.bias, math.atanh(WATER))  # type: ignore[arg-type]
