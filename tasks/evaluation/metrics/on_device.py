"""The windows of SSIM and MS-SSIM in torch, for GPUs; equal to numpy to 1e-9."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool3d

from synthct.data.errors import UsageError
from synthct.tasks.evaluation.metrics.windows import K1, K2, RADIUS, VOXELS, WINDOW
from synthct.tasks.evaluation.pair import Floats, Mask


def device_called(name: str) -> torch.device:
    """The torch device; :class:`UsageError` if this machine does not have it."""
    if name not in ("cpu", "cuda") or (name == "cuda" and not torch.cuda.is_available()):
        problem = f"no device {name!r}"
        if name == "cuda":
            problem = "torch finds no GPU on this machine"
        raise UsageError(
            problem,
            rule="similarity is computed with numpy (no device), or with torch on cpu or a "
            "cuda GPU",
            where="device",
            remedy="leave the device out",
            code="no-such-device",
        )
    return torch.device(name)


def placed(images: tuple[Floats, Floats, Mask], device: torch.device) -> list[Tensor]:
    """The images (float64) and the mask, copied to the device."""
    return [torch.from_numpy(np.ascontiguousarray(image)).to(device) for image in images]


def level_mean(x: Tensor, y: Tensor, mask: Tensor, width: float, weight: float) -> float | None:
    """Mean of (L C S)^weight over the mask without its border; None if that is empty.

    Same windows, sample covariances and stabilisers as ``windows.similarity``.
    """
    if min(mask.shape) < WINDOW:
        return None
    inner = (slice(RADIUS, -RADIUS),) * 3
    inside = mask[inner]
    if not bool(inside.any()):
        return None
    c1, c2 = (K1 * width) ** 2, (K2 * width) ** 2
    sample = VOXELS / (VOXELS - 1)
    mean_x, mean_y, squares, product = (_window_mean(f) for f in (x, y, x * x + y * y, x * y))
    means, powers = 2 * mean_x * mean_y, mean_x**2 + mean_y**2
    numerator = (means + c1) * ((2 * product - means) * sample + c2)
    similar = numerator / ((powers + c1) * ((squares - powers) * sample + c2))
    values = similar[inside]
    if weight != 1:
        values = values.clamp(min=0).pow(weight)
    return float(values.mean())


def halve(image: Tensor) -> Tensor:
    """As ``ms_ssim.halve``: mean of 2 x 2 x 2 voxels at every second one."""
    for axis in range(3):
        turned = image.movedim(axis, 0)
        kept = turned[::2].clone()
        kept[1:] += turned[1::2][: len(kept) - 1]
        image = kept.movedim(0, axis)
    return image * 0.125


def _window_mean(field: Tensor) -> Tensor:
    """Mean of 7 x 7 x 7 voxels (no padding), one axis at a time."""
    pooled = field[None, None]
    for kernel in ((WINDOW, 1, 1), (1, WINDOW, 1), (1, 1, WINDOW)):
        pooled = avg_pool3d(pooled, kernel, stride=1)
    return pooled[0, 0]
