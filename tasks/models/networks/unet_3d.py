"""3-D U-Net: from a volume to its CT."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from synthct.tasks.models.networks import NETWORKS
from synthct.tasks.models.networks.blocks import (
    GROUPS,
    LayerOptions,
    decode,
    encode,
    initialise,
    require_levels,
    two_convs,
)


@NETWORKS.register("unet_3d")
@dataclass(frozen=True)
class UNet3D(LayerOptions):
    """3-D U-Net with a tanh output.

    ``levels`` resolutions with two 3 x 3 x 3 convolutions each; the second doubles the channels,
    before the max pooling, to avoid bottlenecks. In the decoder, 2 x 2 x 2 transposed
    convolutions keep the channels, and their output is concatenated with the features of the
    encoder. With ``width`` 32 and 4 levels it is the network of the paper: 19,069,955 weights
    with three input and three output channels, 19,068,097 with one each, not counting norms and
    biases of the transposed convolutions. With the regularizer ``sparse_annotation`` it is
    trained on a few slices of each scan.

    Parameters
    ----------
    width
        Channels of the first convolution, a multiple of 8.
    levels
        Resolutions; the voxels of the coarsest are 2^(levels - 1) times larger.

    References
    ----------
    Çiçek, Abdulkadir, Lienkamp, Brox & Ronneberger, 3D U-Net: Learning Dense Volumetric
    Segmentation from Sparse Annotation, MICCAI 2016, arXiv:1606.06650.
    """

    width: int = 32
    levels: int = 4

    slices: ClassVar[int] = 1
    dimensions: ClassVar[Literal["2.5d", "3d"]] = "3d"

    def __post_init__(self) -> None:
        self.require_options(self.width, GROUPS)
        require_levels(self.levels)

    @property
    def divisor(self) -> int:
        """Z, Y and X must be multiples of this."""
        return 1 << (self.levels - 1)

    def build(self) -> nn.Module:
        """A module (B, 1, Z, Y, X) -> the same shape, sizes multiples of ``divisor``."""
        return UNet3DModule(self)


class UNet3DModule(nn.Module):
    """Encoder, skip connections and decoder."""

    def __init__(self, options: UNet3D) -> None:
        super().__init__()
        kind = options.norm, options.activation
        sizes = [options.width << level for level in range(options.levels + 1)]
        self.down, self.rise, self.up = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        for level in range(options.levels):
            inputs = sizes[level] if level else 1
            self.down.append(two_convs(3, inputs, sizes[level], sizes[level + 1], *kind))
        for level in range(options.levels - 1, 0, -1):
            below, skipped = sizes[level + 1], sizes[level]
            self.rise.append(nn.ConvTranspose3d(below, below, 2, stride=2))
            self.up.append(two_convs(3, below + skipped, skipped, skipped, *kind))
        self.head = nn.Conv3d(sizes[1], 1, 1)
        initialise(self, self.head)

    def forward(self, x: Tensor) -> Tensor:
        """Volume (B, 1, Z, Y, X) to its CT in [-1, 1], same shape."""
        x, skips = encode(self.down, x, functional.max_pool3d)
        out: Tensor = torch.tanh(self.head(decode(self.rise, self.up, x, skips)))
        return out
