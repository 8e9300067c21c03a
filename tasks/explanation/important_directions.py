"""Integrated gradients along the important direction: which source voxels an HU depends on."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Attribution:
    """Contribution of each input voxel to an output.

    Parameters
    ----------
    shares
        Same shape as the input [unit of the output].
    value, baseline
        Output at the input and at the baseline.
    """

    shares: NDArray[np.float64]
    value: float
    baseline: float

    @property
    def gap(self) -> float:
        """Relative error of the sum of the shares against the difference of the outputs."""
        wanted = self.value - self.baseline
        return abs(float(self.shares.sum()) - wanted) / max(abs(wanted), 1e-12)


def attribute(
    output: Callable[[Tensor], Tensor],
    source: Tensor,
    *,
    baseline: Tensor | None = None,
    steps: int = 30,
    method: Literal["important_direction", "straight"] = "important_direction",
) -> Attribution:
    r"""Shares of the input voxels in :math:`f(x) - f(x_0)`.

    The straight path from the baseline :math:`x_0` to *x* is cut into steps. With the gradient
    :math:`g_j` at :math:`x_j` a step adds

    .. math:: \frac{g_j \circ g_j}{\lVert g_j \rVert^2} \bigl(f(x_{j+1}) - f(x_j)\bigr)

    (``important_direction``): the change of the output is attributed along the direction that
    causes it; movement of the path across that direction is noise. The sum is :math:`f(x) -
    f(x_0)`, for any number of steps. ``straight`` adds :math:`g_j \circ (x_{j+1} - x_j)`,
    integrated gradients, whose sum is that only in the limit.

    Parameters
    ----------
    output
        From inputs (1, C, ...) to a scalar.
    source
        The input (1, C, ...).
    baseline
        Where the path starts; default: zeros, which is the mean of the body under the z-score.
    steps
        Gradients that are computed.

    References
    ----------
    Yang, Wang & Bilgic, IDGI: A Framework to Eliminate Explanation Noise from Integrated Gradients,
    CVPR 2023, arXiv:2303.14242. Sundararajan, Taly & Yan, Axiomatic Attribution for Deep Networks,
    ICML 2017, arXiv:1703.01365.
    """
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}")
    start = torch.zeros_like(source) if baseline is None else baseline
    along = (source - start).double() / steps
    values, gradients = [], []
    for number in range(steps + 1):
        here = (start + (source - start) * (number / steps)).detach().requires_grad_()
        found = output(here)
        values.append(float(found.detach()))
        if number < steps:
            gradients.append(torch.autograd.grad(found, here)[0].double())
    shares = torch.zeros_like(source, dtype=torch.float64)
    for gradient, (before, after) in zip(gradients, itertools.pairwise(values), strict=True):
        shares += _step(gradient, after - before, along, method)
    return Attribution(shares.numpy(), values[-1], values[0])


def _step(gradient: Tensor, change: float, along: Tensor, method: str) -> Tensor:
    if method == "straight":
        return gradient * along
    weight = gradient**2
    if not float(weight.sum()) > 0:  # a plateau: only the path itself is known
        weight = along**2
    total = float(weight.sum())
    return weight * (change / total) if total > 0 else weight
