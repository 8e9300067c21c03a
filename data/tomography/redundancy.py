r"""Weights of rays that an orbit measures twice, and the angle that each view stands for.

Opposite rays :math:`(\beta, \gamma)` and :math:`(\beta + \pi + 2\gamma, -\gamma)`, with
:math:`\gamma = \arctan(u / R)` the angle in the fan, are one line of the mid-plane; their weights
add up to 2.

* Full circle, detector in the middle: 1 each.
* Full circle, detector shifted along u (half-fan): :math:`1 \pm \sin(\frac{\pi}{2}
  \arctan\frac{u}{R} / \arctan\frac{d}{R})` within the overlap :math:`|u| \le d`, 2 beyond it.
  Wang, Med. Phys. 29 (2002) 1634-1636, doi:10.1118/1.1489043.
* An arc of at least :math:`\pi` plus the fan: Parker, Med. Phys. 9 (1982) 254-257,
  doi:10.1118/1.595078.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from synthct.data.tomography.cone_beam import ConeBeam

GAP_OF_A_CIRCLE = 1.5
"""A gap between neighbouring views wider than this is the opening of an arc [median steps]."""


def view_weights(geometry: ConeBeam) -> Tensor:
    """Redundancy times the angle of each view (views, 1, U), relative to 2 pi / views.

    All 1 for an evenly sampled full circle with its detector in the middle.
    """
    even = 2 * math.pi / len(geometry.angles_rad)
    return (_angles_rad(geometry) / even)[:, None].float()


def _angles_rad(geometry: ConeBeam) -> Tensor:
    angles = torch.tensor(geometry.angles_rad, dtype=torch.float64)
    zoom = geometry.source_axis_mm / geometry.source_detector_mm
    u = geometry.offsets_mm(1).double() * zoom
    shifted = abs(geometry.detector_shift_mm[1]) > 0.5 * geometry.pixel_mm[1]
    start = _opening(angles)
    if start is None:
        steps = _steps_around(angles)
        weights = _half_fan(u, geometry.source_axis_mm) if shifted else torch.ones_like(u)
        return steps[:, None] * weights
    if shifted:
        raise ValueError(
            f"the detector is shifted by {geometry.detector_shift_mm[1]:g} mm on an arc of "
            f"{math.degrees(_span(angles, start)):.0f} degrees; a half-fan needs the full circle"
        )
    return _short_scan(angles, start, -torch.atan(u / geometry.source_axis_mm))


def _opening(angles: Tensor) -> float | None:
    """The angle [rad] after the widest gap between neighbouring views; None on a full circle."""
    if len(angles) < 3:
        return None
    order = (angles % (2 * math.pi)).sort().values
    gaps = torch.cat([order[1:], order[:1] + 2 * math.pi]) - order
    widest = int(gaps.argmax())
    if gaps[widest] <= GAP_OF_A_CIRCLE * gaps.median() + 1e-9:
        return None
    return float(order[(widest + 1) % len(order)])


def _steps_around(angles: Tensor) -> Tensor:
    """Half the way to both neighbours around the circle [rad]."""
    order = (angles % (2 * math.pi)).argsort()
    sorted_angles = (angles % (2 * math.pi))[order]
    ahead = torch.cat([sorted_angles[1:], sorted_angles[:1] + 2 * math.pi]) - sorted_angles
    steps = torch.empty_like(angles)
    steps[order] = (ahead + ahead.roll(1)) / 2
    return steps


def _span(angles: Tensor, start: float) -> float:
    return float(((angles - start) % (2 * math.pi)).max())


def _half_fan(u: Tensor, radius_mm: float) -> Tensor:
    overlap = min(float(u.max()), -float(u.min()))
    if overlap <= 0:
        raise ValueError(
            f"the detector reaches from {float(u.min()):.1f} to {float(u.max()):.1f} mm beside the "
            "axis; it must see the axis"
        )
    sign = 1.0 if float(u.max()) > -float(u.min()) else -1.0
    share = (torch.atan(u / radius_mm) / math.atan(overlap / radius_mm)).clamp(-1, 1)
    return 1 + sign * torch.sin(math.pi / 2 * share)


def _short_scan(angles: Tensor, start: float, gamma: Tensor) -> Tensor:
    beta = (angles - start) % (2 * math.pi)
    order = beta.argsort()
    ahead = beta[order][1:] - beta[order][:-1]
    steps = torch.empty_like(beta)
    steps[order] = torch.cat([ahead[:1], (ahead[1:] + ahead[:-1]) / 2, ahead[-1:]])
    span = float(beta.max() + (ahead[0] + ahead[-1]) / 2)
    beta = beta + float(ahead[0]) / 2
    widest = float(gamma.abs().max())
    half = (span - math.pi) / 2
    if half < widest:
        raise ValueError(
            f"the views span {math.degrees(span):.0f} degrees; FDK needs a half circle and the "
            f"fan of {math.degrees(2 * widest):.0f}: reconstruct with an iterative method"
        )
    half = min(half, math.pi / 2)
    b, g = beta[:, None], gamma[None, :]
    rising = torch.sin(math.pi / 4 * b / (half - g).clamp_min(1e-9)).square()
    falling = torch.sin(
        math.pi / 4 * (math.pi + 2 * half - b) / (half + g).clamp_min(1e-9)
    ).square()
    weights = torch.ones(len(beta), len(gamma), dtype=torch.float64)
    weights = torch.where(b <= 2 * (half - g), rising, weights)
    weights = torch.where(b >= math.pi - 2 * g, falling, weights)
    return 2 * weights * steps[:, None]
