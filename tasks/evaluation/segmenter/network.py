"""A small 2.5-D U-Net that segments the structures of a CT."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from synthct.tasks.models.description import TargetScaling
from synthct.tasks.models.networks.blocks import conv_norm_act, encode
from synthct.tasks.models.normalise import scale_target

SLICES = 3
"""Neighbouring slices that enter as channels."""

WINDOWS_HU = ((-1024.0, 3071.0), (-1000.0, -200.0), (-200.0, 300.0), (100.0, 1200.0))
"""Every slice is input in each of these windows: full range, lung, soft tissue, bone. In the full
range alone fat and muscle differ by 4 %, which a few hundred steps do not learn."""

CHANNELS = SLICES * len(WINDOWS_HU)

LEVELS = 3
"""Number of resolutions; sizes are padded to multiples of 2^(LEVELS - 1)."""


class SmallUNet(nn.Module):
    """Windowed slices (B, 12, Y, X) in [-1, 1] to scores (B, classes, Y, X) of the middle one.

    Batch normalization preserves absolute HU, by which structures differ most.
    """

    def __init__(self, classes: int, width: int) -> None:
        super().__init__()
        sizes = [width << level for level in range(LEVELS)]
        self.down = nn.ModuleList(
            _two(sizes[level - 1] if level else CHANNELS, sizes[level]) for level in range(LEVELS)
        )
        self.up = nn.ModuleList(
            _two(sizes[level] + sizes[level + 1], sizes[level])
            for level in reversed(range(LEVELS - 1))
        )
        self.head = nn.Conv2d(width, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Scores of the middle slice, (B, classes, Y, X)."""
        x, skips = encode(self.down, x, functional.max_pool2d)
        for stage in self.up:
            x = stage(torch.cat([functional.interpolate(x, scale_factor=2.0), skips.pop()], 1))
        out: Tensor = self.head(x)
        return out


def _two(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        conv_norm_act(inputs, outputs, "batch", "leaky_relu"),
        conv_norm_act(outputs, outputs, "batch", "leaky_relu"),
    )


def stacks(hu: NDArray[np.generic], mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """A CT (Z, Y, X) [HU] as (Z, 12, Y, X): each slice between its neighbours, in four windows.

    Everything outside the body is set to air, so that the couch does not matter.
    """
    body = np.pad(np.where(mask, hu, -1024), ((1, 1), (0, 0), (0, 0)), mode="edge")
    shown = [scale_target(body, TargetScaling(low_hu=lo, high_hu=hi)) for lo, hi in WINDOWS_HU]
    return np.stack([w[at : at + len(hu)] for w in shown for at in range(SLICES)], axis=1)


def segment(
    model: nn.Module, hu: NDArray[np.generic], mask: NDArray[np.bool_], *, batch: int = 8
) -> NDArray[np.uint8]:
    """Class of every voxel of the mask, (Z, Y, X); 0 outside it."""
    images, step = stacks(hu, mask), 1 << (LEVELS - 1)
    _, _, height, width = images.shape
    found = np.zeros(mask.shape, np.uint8)
    device = next(model.parameters()).device
    wanted: Sequence[int] = np.flatnonzero(mask.any(axis=(1, 2))).tolist()
    with torch.inference_mode():
        for start in range(0, len(wanted), batch):
            rows = list(wanted[start : start + batch])
            inputs = torch.from_numpy(images[rows]).to(device)
            padded = functional.pad(inputs, (0, -width % step, 0, -height % step), value=-1.0)
            scores = model(padded)[..., :height, :width]
            found[rows] = scores.argmax(dim=1).to(torch.uint8).cpu().numpy()
    return np.where(mask, found, np.uint8(0))
