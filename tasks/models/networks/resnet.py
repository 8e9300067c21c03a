"""The ResNet-34 encoder, with features at five resolutions."""

from __future__ import annotations

from torch import Tensor, nn

from synthct.tasks.models.networks.blocks import (
    Activation,
    Norm,
    activation_layer,
    conv3x3,
    norm_layer,
)

BLOCKS = (3, 4, 6, 3)
"""Residual blocks of the four stages of ResNet-34."""


class ResidualBlock(nn.Module):
    """``act(x + norm(conv(act(norm(conv(x))))))``, with a 1 x 1 shortcut where the shape changes.

    References
    ----------
    He, Zhang, Ren & Sun, Deep Residual Learning for Image Recognition, CVPR 2016,
    arXiv:1512.03385 (basic block).
    """

    def __init__(
        self, inputs: int, outputs: int, stride: int, norm: Norm, activation: Activation
    ) -> None:
        super().__init__()
        self.body = nn.Sequential(
            conv3x3(inputs, outputs, stride),
            norm_layer(norm, outputs),
            activation_layer(activation),
            conv3x3(outputs, outputs),
            norm_layer(norm, outputs),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False), norm_layer(norm, outputs)
            )
        self.activation = activation_layer(activation)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, Y, X) to (B, outputs, Y / stride, X / stride)."""
        out: Tensor = self.activation(self.shortcut(x) + self.body(x))
        return out


class ResNetEncoder(nn.Module):
    """ResNet-34 without its classifier: features at strides 2, 4, 8, 16 and 32.

    Parameters
    ----------
    channels
        Input channels.
    width
        Channels of the first stage, 64 in the original; later stages have 2, 4, 8 times that.
    stem_stride
        Down-sampling of the first convolution, 2 in the original; with 1 all strides halve.
    """

    def __init__(
        self, channels: int, width: int, norm: Norm, activation: Activation, stem_stride: int = 2
    ) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(channels, width, 7, stride=stem_stride, padding=3, bias=False),
            norm_layer(norm, width),
            activation_layer(activation),
        )
        self.pool = nn.MaxPool2d(3, stride=2, padding=1)
        self.stages = nn.ModuleList()
        inputs = width
        for number, blocks in enumerate(BLOCKS):
            outputs, stride = width << number, 1 if number == 0 else 2
            stage = [ResidualBlock(inputs, outputs, stride, norm, activation)]
            stage += [
                ResidualBlock(outputs, outputs, 1, norm, activation) for _ in range(blocks - 1)
            ]
            self.stages.append(nn.Sequential(*stage))
            inputs = outputs

    def forward(self, x: Tensor, depth: int = len(BLOCKS)) -> list[Tensor]:
        """Features from fine to coarse, strides 2, 4, 8, 16, 32; of the first ``depth`` stages."""
        features = [self.stem(x)]
        x = self.pool(features[0])
        for stage in self.stages[:depth]:
            x = stage(x)
            features.append(x)
        return features
