r"""Zero-shot denoising of line integrals: a small network is trained on swapped conjugate rays.

Over a full circle each ray is measured twice, from both of its ends, with independent noise. In a
fan beam the ray at the angle :math:`\gamma` of the view :math:`\beta` is that at :math:`-\gamma` of
the view :math:`\beta + \pi + 2 \gamma` (the sign is that of the rotation). Swapping a random half
of the pairs gives two sinograms of equal content and independent noise; a network that is trained
to predict one from the other learns the content (noise to noise).

Exact in the plane of the orbit. Above and below it, the two rays of a pair cross at the axis and
are apart elsewhere by up to the cone's angle; the wider the cone, the more the rows far from the
plane are smoothed.

Shi & Wang, Zero-Shot Low-dose CT Denoising via Sinogram Flicking, arXiv:2504.07927.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn

from synthct.data.errors import UsageError
from synthct.data.tomography.cone_beam import ConeBeam

CHANNELS = 24
LEARNING_RATE = 3e-3


def flicked(lines: Tensor, beam: ConeBeam, *, seed: int, steps: int = 80) -> Tensor:
    """Line integrals (views, V, U) with less noise.

    Parameters
    ----------
    lines
        Of a full circle of equally spaced views, the detector centred.
    seed
        Seed of the swaps and of the network's initial weights.
    steps
        Number of optimisation steps.

    Raises
    ------
    UsageError
        ``no-conjugates``: the orbit is not a full circle of equal steps, or the detector is
        shifted.
    """
    partner = conjugate(lines, beam)
    rng = torch.Generator().manual_seed(seed)
    level, scale = lines.mean(), lines.std().clamp_min(1e-6)
    first, second = ((one - level) / scale for one in (lines, partner))
    network = _network(rng)
    optimizer = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE)
    with torch.enable_grad():
        for _ in range(steps):
            swap = torch.rand(first.shape, generator=rng) < 0.5
            given = torch.where(swap, second, first)
            wanted = torch.where(swap, first, second)
            loss = (network(given[:, None])[:, 0] - wanted).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    with torch.no_grad():
        clean = (network(first[:, None]) + network(second[:, None]))[:, 0] / 2
    denoised: Tensor = clean * scale + level
    return denoised


def conjugate(lines: Tensor, beam: ConeBeam) -> Tensor:
    """The other measurement of each ray (views, V, U), from the nearest view that has one."""
    steps = np.diff(np.unwrap(beam.angles_rad))
    # Negative for clockwise orbits, where the views are in reverse order.
    step = math.copysign(2 * math.pi / len(beam.angles_rad), steps.sum())
    equal = len(steps) > 1 and np.allclose(steps, step, atol=1e-4 * abs(step))
    if not equal or beam.detector_shift_mm[1]:
        raise UsageError(
            "the rays of this orbit have no conjugates",
            rule="flicking needs a full circle of equal steps and a detector that is not shifted",
            where="--flicking",
            remedy="leave out --flicking",
            code="no-conjugates",
        )
    fan = torch.atan(beam.offsets_mm(1) / beam.source_detector_mm)
    turn = torch.round((math.pi - 2 * fan) / step).long()
    views = (torch.arange(len(lines))[:, None] + turn) % len(lines)
    columns = torch.arange(len(fan)).flip(0).expand_as(views)
    return lines.permute(0, 2, 1)[views, columns].permute(0, 2, 1)


def _network(rng: torch.Generator) -> nn.Module:
    """Two convolutions over v and u, and one of single pixels; the image plus a correction."""
    layers = [
        nn.Conv2d(1, CHANNELS, 3, padding=1, padding_mode="replicate"),
        nn.LeakyReLU(0.2),
        nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1, padding_mode="replicate"),
        nn.LeakyReLU(0.2),
        nn.Conv2d(CHANNELS, 1, 1),
    ]
    with torch.no_grad():
        for layer in layers:
            for parameter in layer.parameters():
                reach = 1 / math.sqrt(max(1, parameter[0].numel() if parameter.ndim > 1 else 25))
                parameter.copy_((2 * torch.rand(parameter.shape, generator=rng) - 1) * reach)
    return _Residual(nn.Sequential(*layers))


class _Residual(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        corrected: Tensor = x + self.inner(x)
        return corrected
