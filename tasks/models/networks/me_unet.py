"""MEUNet: a U-Net with selective state-space scans in its skip connections."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from synthct.tasks.models.networks import NETWORKS
from synthct.tasks.models.networks.blocks import (
    GROUPS,
    Activation,
    LayerOptions,
    Norm,
    decode,
    encode,
    initialise,
    require_levels,
    two_convs,
)
from synthct.tasks.models.networks.selective_scan import MambaBlock


@NETWORKS.register("me_unet")
@dataclass(frozen=True)
class MEUNet(LayerOptions):
    """2.5-D U-Net of high resolution with Mamba blocks in its skip connections, tanh output.

    Convolutions have a local receptive field. The features of a skip connection are also
    processed as a sequence of voxels, row by row, by selective state-space scans, so that each
    voxel depends on all voxels before it, at a cost that is linear in their number. With
    ``both_ways`` a second block scans backwards. An adaptation: the paper scans in four
    directions, and a single slice. The scans are plain torch (``selective_scan``). As in the
    paper, there are only two down-samplings, for ``levels`` = 3 resolutions.

    Parameters
    ----------
    slices
        Neighbouring slices that are input channels; odd.
    width
        Channels of the finest level, a multiple of 8; they double from level to level.
    levels
        Resolutions.
    states
        States of a scan for each channel.
    expansion
        Channels of a scan as a multiple of those of the skip connection.
    finest
        First level whose skip connection has a scan; 0 is the finest. A scan needs memory for
        ``expansion * states`` values for each voxel and channel.
    both_ways
        Also scan backwards.

    References
    ----------
    Zhou, Wu, Zhao, Chen, Zhang & Wang, GLFC: Unified Global-Local Feature and Contrast Learning
    with Mamba-Enhanced UNet for Synthetic CT Generation from CBCT, arXiv:2501.02992.
    """

    slices: int = 5
    width: int = 32
    levels: int = 3
    norm: Norm = "instance"
    activation: Activation = "leaky_relu"
    states: int = 8
    expansion: int = 1
    finest: int = 0
    both_ways: bool = False

    dimensions: ClassVar[Literal["2.5d", "3d"]] = "2.5d"

    def __post_init__(self) -> None:
        self.require_options(self.width, GROUPS, self.slices)
        for name in ("states", "expansion"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        require_levels(self.levels)
        if not 0 <= self.finest < self.levels - 1:
            raise ValueError(f"finest must be in [0, {self.levels - 2}], got {self.finest}")

    @property
    def divisor(self) -> int:
        """Y and X must be multiples of this."""
        return 1 << (self.levels - 1)

    def build(self) -> nn.Module:
        """A module (B, slices, Y, X) -> (B, 1, Y, X), Y and X multiples of ``divisor``."""
        return MEUNetModule(self)


class Scanned(nn.Module):
    """Scans of a feature map as a sequence of voxels, forwards and optionally backwards."""

    def __init__(self, options: MEUNet, channels: int) -> None:
        super().__init__()
        make = (channels, options.states, options.expansion)
        self.ahead = MambaBlock(*make)
        self.back = MambaBlock(*make) if options.both_ways else None

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, Y, X), the same shape back."""
        tokens = x.flatten(2).transpose(1, 2)
        read = self.ahead(tokens)
        if self.back is not None:
            read = (read + self.back(tokens.flip(1)).flip(1)) / 2
        out: Tensor = read.transpose(1, 2).unflatten(2, x.shape[2:])
        return out


class MEUNetModule(nn.Module):
    """Encoder, scans in the skip connections, decoder."""

    def __init__(self, options: MEUNet) -> None:
        super().__init__()
        kind = options.norm, options.activation
        sizes = [options.width << level for level in range(options.levels)]
        self.down, self.skips = nn.ModuleList(), nn.ModuleList()
        self.rise, self.up = nn.ModuleList(), nn.ModuleList()
        for level, size in enumerate(sizes):
            inputs = sizes[level - 1] if level else options.slices
            self.down.append(two_convs(2, inputs, size, size, *kind))
        for level, size in enumerate(sizes[:-1]):
            scanned = level >= options.finest
            self.skips.append(Scanned(options, size) if scanned else nn.Identity())
        for level in range(options.levels - 2, -1, -1):
            self.rise.append(nn.ConvTranspose2d(sizes[level + 1], sizes[level], 2, stride=2))
            self.up.append(two_convs(2, 2 * sizes[level], sizes[level], sizes[level], *kind))
        self.head = nn.Conv2d(options.width, 1, 3, padding=1)
        initialise(self, self.head)

    def forward(self, x: Tensor) -> Tensor:
        """Stack of slices (B, slices, Y, X) to the middle slice's CT (B, 1, Y, X) in [-1, 1]."""
        x, features = encode(self.down, x, functional.max_pool2d)
        skips = [skip(feature) for skip, feature in zip(self.skips, features, strict=True)]
        out: Tensor = torch.tanh(self.head(decode(self.rise, self.up, x, skips)))
        return out
