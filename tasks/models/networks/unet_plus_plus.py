"""2.5-D U-Net++: from a stack of neighbouring slices to the CT of the middle slice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from synthct.tasks.models.networks import NETWORKS
from synthct.tasks.models.networks.blocks import (
    LayerOptions,
    conv_norm_act,
    initialise,
    initialise_head,
)
from synthct.tasks.models.networks.resnet import ResNetEncoder

LEVELS = 4
"""Resolutions of the grid of nodes (strides 2 to 16); the encoder has one more."""


@NETWORKS.register("unet_plus_plus")
@dataclass(frozen=True)
class UNetPlusPlus(LayerOptions):
    r"""U-Net++ with a ResNet-34 encoder and a tanh output.

    Node :math:`x^{i,j}` at resolution level *i* (0 finest, stride 2) and column *j* is

    .. math:: x^{i,j} = H\left([\,U(x^{i+1,j-1}),\ x^{i,0}, \dots, x^{i,j-1}]\right)

    with :math:`x^{i,0}` the features of the encoder, *U* nearest-neighbour up-sampling by 2 and
    *H* two 3 x 3 convolutions with norm and activation. One more node up-samples the last one to
    full size; a 3 x 3 convolution and tanh give the CT in [-1, 1]. With ``width`` 64 it has
    26,084,881 parameters for 5 slices and 26,078,609 for 3, as the published network.

    Parameters
    ----------
    slices
        Neighbouring slices that are input channels; odd.
    width
        Channels of the first stage of the encoder; 64 is ResNet-34. The decoder scales with it:
        4, 2, 1, 1/2 and 1/4 of the width from coarse to fine, and at least 8 channels.
    stem_stride
        Down-sampling of the first convolution: 2 as published, 1 for small scans, whose details
        would be lost at half size (four times the computation, the same parameters).
    skip_input
        Concatenate the input slices to the last node. The published network has no features at
        full size except through its stem at half size, which blurs edges in scans with few
        voxels. It adds few parameters and little time.
    columns
        The nodes :math:`x^{0,1}` to :math:`x^{0,3}` answer too, each through a 3 x 3 convolution
        and up-sampling, and the result is the tanh of the mean: column *j* is a U-Net of *j*
        levels. With the regularizer ``drop_path`` each can answer alone.
    answering
        With ``columns``: number of columns that answer at prediction, 1 to 4. Nodes and stages of
        the encoder of further ones are not computed.

    References
    ----------
    Zhou et al., UNet++: Redesigning Skip Connections to Exploit Multiscale Features in Image
    Segmentation, IEEE Trans. Med. Imaging 39 (2020) 1856-1867, doi:10.1109/TMI.2019.2959609.
    """

    slices: int = 5
    width: int = 64
    stem_stride: int = 2
    skip_input: bool = False
    columns: bool = False
    answering: int = LEVELS

    dimensions: ClassVar[Literal["2.5d", "3d"]] = "2.5d"

    def __post_init__(self) -> None:
        self.require_options(self.width, 4, self.slices)
        if self.stem_stride not in (1, 2):
            raise ValueError(f"stem_stride must be 1 or 2, got {self.stem_stride}")
        if not 1 <= self.answering <= LEVELS:
            raise ValueError(f"answering must be from 1 to {LEVELS}, got {self.answering}")
        if self.answering < LEVELS and not self.columns:
            raise ValueError("answering needs columns: true")

    @property
    def divisor(self) -> int:
        """Y and X must be multiples of this."""
        return 16 * self.stem_stride

    def build(self) -> nn.Module:
        """A module (B, slices, Y, X) -> (B, 1, Y, X), Y and X multiples of ``divisor``."""
        return UNetPlusPlusModule(self)


class UNetPlusPlusModule(nn.Module):
    """The grid of nodes."""

    def __init__(self, options: UNetPlusPlus) -> None:
        super().__init__()
        width, norm, activation = options.width, options.norm, options.activation
        self.stem_stride = options.stem_stride
        self.encoder = ResNetEncoder(options.slices, width, norm, activation, self.stem_stride)
        self.nodes = nn.ModuleDict()
        sizes = {(level, 0): width << max(0, level - 1) for level in range(LEVELS + 1)}
        for column in range(1, LEVELS + 1):
            for level in range(LEVELS + 1 - column):
                last = level + column == LEVELS
                sizes[level, column] = max(8, width >> 1 << level) if last else sizes[level, 0]
                inputs = sizes[level + 1, column - 1] + column * sizes[level, 0]
                self.nodes[_name(level, column)] = nn.Sequential(
                    conv_norm_act(inputs, sizes[level, column], norm, activation),
                    conv_norm_act(sizes[level, column], sizes[level, column], norm, activation),
                )
        self.answering = options.answering
        if options.columns:
            self.shallow = nn.ModuleList(
                nn.Conv2d(width, 1, 3, padding=1) for _ in range(LEVELS - 1)
            )
            self.columns = nn.Identity()
        finest = max(8, width // 4)
        self.skip_input = options.skip_input
        inputs = sizes[0, LEVELS] + (options.slices if options.skip_input else 0)
        self.full_size = nn.Sequential(
            conv_norm_act(inputs, finest, norm, activation),
            conv_norm_act(finest, finest, norm, activation),
        )
        self.head = nn.Conv2d(finest, 1, 3, padding=1)
        initialise(self, self.head)
        for head in self.shallow if options.columns else ():
            initialise_head(head)

    def forward(self, x: Tensor) -> Tensor:
        """Stack of slices (B, slices, Y, X) to the middle slice's CT (B, 1, Y, X) in [-1, 1]."""
        depth = LEVELS if self.training else self.answering
        grid = {(level, 0): feature for level, feature in enumerate(self.encoder(x, depth))}
        for column in range(1, depth + 1):
            for level in range(depth + 1 - column):
                parts = [_double(grid[level + 1, column - 1])]
                parts += [grid[level, before] for before in range(column)]
                grid[level, column] = self.nodes[_name(level, column)](torch.cat(parts, dim=1))
        answers = []
        if hasattr(self, "shallow"):
            heads = self.shallow[:depth]
            answers = [self._full(head(grid[0, n])) for n, head in enumerate(heads, start=1)]
        if depth == LEVELS:
            finest = self._full(grid[0, LEVELS])
            if self.skip_input:
                finest = torch.cat([finest, x], dim=1)
            answers.append(self.head(self.full_size(finest)))
        if len(answers) == 1 and not hasattr(self, "columns"):
            return torch.tanh(answers[0])
        together: Tensor = self.columns(torch.cat(answers, dim=1))
        return torch.tanh(together.mean(dim=1, keepdim=True))

    def _full(self, x: Tensor) -> Tensor:
        """Up-sampled to the size of the input."""
        return x if self.stem_stride == 1 else _double(x)


def _name(level: int, column: int) -> str:
    return f"x{level}{column}"


def _double(x: Tensor) -> Tensor:
    return functional.interpolate(x, scale_factor=2.0, mode="nearest")
