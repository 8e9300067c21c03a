"""Blocks of the U-Nets, of MONAI's parts, and their first weights."""

from __future__ import annotations

import math
from typing import Any, get_args

from torch import nn

from synthct.tasks.models.networks.layers import Activation, Norm, activation_layer

HEAD_SD = 0.01
"""Standard deviation of the last convolution's first weights."""

WATER = -0.5
"""Output where training starts: 0 HU when [-1024, 3071] HU are scaled to [-1, 1]."""

GROUPS = 8
"""Groups of a group norm; widths are multiples of it."""


def monai_norm(kind: Norm) -> tuple[str, dict[str, Any]]:
    """A normalisation with learned scale and shift, as MONAI's blocks take it."""
    options: dict[str, dict[str, Any]] = {
        "batch": {},
        "instance": {"affine": True},
        "group": {"num_groups": GROUPS},
    }
    return kind, options[kind]


def conv_norm_act(
    dims: int, inputs: int, outputs: int, norm: Norm, activation: Activation
) -> nn.Sequential:
    """3^dims convolution that keeps the size, normalisation, activation."""
    from monai.networks.blocks.convolutions import Convolution  # slow to import

    convolution = Convolution(
        dims, inputs, outputs, act=None, norm=monai_norm(norm), adn_ordering="N"
    )
    # Torch's own activations: regularizers find layers by their kind.
    return nn.Sequential(convolution, activation_layer(activation))


def two_convs(
    dims: int, inputs: int, middle: int, outputs: int, norm: Norm, activation: Activation
) -> nn.Sequential:
    """Two of them: ``inputs`` -> ``middle`` -> ``outputs`` channels."""
    return nn.Sequential(
        conv_norm_act(dims, inputs, middle, norm, activation),
        conv_norm_act(dims, middle, outputs, norm, activation),
    )


def require_options(width: int, norm: str, activation: str) -> None:
    """Complain about widths, norms and activations that no block takes."""
    if width < GROUPS or width % GROUPS:
        raise ValueError(f"width must be a multiple of {GROUPS}, got {width}")
    if norm not in get_args(Norm):
        raise ValueError(f"norm must be one of {get_args(Norm)}, got {norm!r}")
    if activation not in get_args(Activation):
        raise ValueError(f"activation must be one of {get_args(Activation)}, got {activation!r}")


def initialise(model: nn.Module, head: nn.Module) -> None:
    """He's normal weights for the convolutions; a head that starts near water everywhere."""
    kinds = (nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.ConvTranspose3d)
    for module in model.modules():
        if isinstance(module, kinds):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    assert isinstance(head, kinds)
    nn.init.normal_(head.weight, std=HEAD_SD)
    nn.init.constant_(head.bias, math.atanh(WATER))  # type: ignore[arg-type]
