"""A network that corrects a calibrated scan, with shrinkage of the corrections."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from synthct.tasks.models.contracts import Network
from synthct.tasks.models.networks import NETWORKS

KNOTS = (0.0, 0.0125, 0.025, 0.05, 0.1, 0.2, 0.4, 0.8)
"""Size of the correction at which its share is known, in network units of 2047.5 HU: about 0, 26,
51, 102, 205, 410, 820 and 1640 HU. Between them the share is linear, beyond them constant."""

START = 0.05
"""Factor of the correction at the start of training, which so begins near the calibration; it is
learned."""


@NETWORKS.register("residual")
@dataclass(frozen=True)
class Residual:
    r"""Calibrated input plus a correction that another network learns.

    .. math:: y = g x + b + w(|r|)\, r, \quad r = R s f(x)

    with *R* the ``reach``, *x* the middle slice of the input, whose scaling is ``two_point``,
    *g* and *b* the change of its window to that of the target, *f* the other network and *s* a
    learned factor. The shares *w* are 1 in training. They are then fitted to cases that were
    held back (:mod:`synthct.tasks.training.shrinkage`), and are part of the weights and of
    every exported form.

    Parameters
    ----------
    base
        The other network: its ``name`` and options, as in ``training.network``.
    gain, shift
        *g* and *b*. 1 and 0 where source and target have the same window.
    reach
        Largest correction, where *f* is bounded by 1 [network units].
    """

    base: dict[str, Any] = field(default_factory=lambda: {"name": "unet_plus_plus"})
    gain: float = 1.0
    shift: float = 0.0
    reach: float = 0.5

    def __post_init__(self) -> None:
        if self.base.get("name") == "residual":
            raise ValueError("base is a network that is not residual itself")
        if self.reach <= 0 or self.gain <= 0:
            raise ValueError(f"gain and reach are above 0, got {self.gain:g} and {self.reach:g}")
        _ = self._inner

    @property
    def _inner(self) -> Network:
        options = {key: value for key, value in self.base.items() if key != "name"}
        return NETWORKS.build(str(self.base.get("name")), options, where="network.base")

    @property
    def slices(self) -> int:
        """Input channels of the other network."""
        return self._inner.slices

    @property
    def dimensions(self) -> Literal["2.5d", "3d"]:
        """Those of the other network."""
        return self._inner.dimensions

    @property
    def divisor(self) -> int:
        """That of the other network."""
        return self._inner.divisor

    def build(self) -> nn.Module:
        """A module with the input and output of the other network."""
        return ResidualModule(self, self._inner.build())


class ResidualModule(nn.Module):
    """The base network with a residual connection."""

    share: Tensor

    def __init__(self, options: Residual, base: nn.Module) -> None:
        super().__init__()
        self.base, self.options = base, options
        self.middle = options.slices // 2 if options.dimensions == "2.5d" else 0
        self.strength = nn.Parameter(torch.tensor(START))
        self.register_buffer("share", torch.ones(len(KNOTS)))

    def calibrated(self, x: Tensor) -> Tensor:
        """The calibrated scan in units of the target: the middle slice of (B, C, ...)."""
        return self.options.gain * x[:, self.middle : self.middle + 1] + self.options.shift

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, ...) to the CT (B, 1, ...) in [-1, 1]."""
        correction = self.options.reach * self.strength * self.base(x)
        out: Tensor = self.calibrated(x) + self.weight(correction) * correction
        return out.clamp(-1, 1)

    def weight(self, correction: Tensor) -> Tensor:
        """Share of a correction that is taken, by its size: linear between the knots."""
        size = correction.abs()
        out = self.share[0].expand_as(size)
        for knot in range(len(KNOTS) - 1):
            low, high = KNOTS[knot], KNOTS[knot + 1]
            slope = (self.share[knot + 1] - self.share[knot]) / (high - low)
            out = out + slope * (size.clamp(low, high) - low)
        return out
