r"""Distances between two feature maps (N, C, ...), with a weight (N, 1, ...) per position.

=============  ===================================================================================
``l1``         mean :math:`|f - m|`
``l2``         mean :math:`(f - m)^2`
``cosine``     mean :math:`1 - \cos(f, m)`
``l1_cosine``  mean :math:`-\cos(f, m) \cdot \overline{\exp(-\lambda |f - m|)}`, lambda 0.1
``dice``       :math:`1 - 2 \sum f m / (\sum f^2 + \sum m^2)`, mean over the channels
``ncc``        one minus the correlation over positions, mean over the channels
``dot``        mean :math:`-\sum_c f m / C`
=============  ===================================================================================

Names as in IMPACT (Boussot et al. 2025, arXiv:2503.24121).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

Distance = Callable[[Tensor, Tensor, Tensor], Tensor]

LAMBDA = 0.1
"""Decay constant of ``l1_cosine`` [1 / unit of the features]."""

_TINY = 1e-8


def _mean(values: Tensor, weight: Tensor) -> Tensor:
    """Weighted mean of (N, 1 or C, ...) over positions, then over channels."""
    total = weight.sum().clamp(min=_TINY)
    return (values * weight).sum() / (total * values.shape[1])


def _l1(f: Tensor, m: Tensor, weight: Tensor) -> Tensor:
    return _mean((f - m).abs(), weight)


def _l2(f: Tensor, m: Tensor, weight: Tensor) -> Tensor:
    return _mean((f - m).square(), weight)


def _cosine(f: Tensor, m: Tensor, weight: Tensor) -> Tensor:
    return _mean(1 - _cos(f, m), weight)


def _l1_cosine(f: Tensor, m: Tensor, weight: Tensor) -> Tensor:
    near = torch.exp(-LAMBDA * (f - m).abs()).mean(dim=1, keepdim=True)
    return _mean(-_cos(f, m) * near, weight)


def _dice(f: Tensor, m: Tensor, weight: Tensor) -> Tensor:
    both = _over_places(f * m * weight)
    each = _over_places((f.square() + m.square()) * weight)
    return (1 - 2 * both / each.clamp(min=_TINY)).mean()


def _ncc(f: Tensor, m: Tensor, weight: Tensor) -> Tensor:
    total = weight.sum().clamp(min=_TINY)
    places = [0, *range(2, f.ndim)]
    a = f - (f * weight).sum(dim=places, keepdim=True) / total
    b = m - (m * weight).sum(dim=places, keepdim=True) / total
    scale = torch.sqrt(_over_places(a**2 * weight) * _over_places(b**2 * weight))
    return (1 - _over_places(a * b * weight) / scale.clamp(min=_TINY)).mean()


def _dot(f: Tensor, m: Tensor, weight: Tensor) -> Tensor:
    return _mean(-f * m, weight)


def _cos(f: Tensor, m: Tensor) -> Tensor:
    return functional.cosine_similarity(f, m, dim=1, eps=_TINY).unsqueeze(1)


def _over_places(values: Tensor) -> Tensor:
    return values.sum(dim=[0, *range(2, values.ndim)])


DISTANCES: dict[str, Distance] = {
    "l1": _l1,
    "l2": _l2,
    "cosine": _cosine,
    "l1_cosine": _l1_cosine,
    "dice": _dice,
    "ncc": _ncc,
    "dot": _dot,
}

RELATIVE = frozenset({"l1", "l2"})
"""Distances divided by their initial value at each level, to be comparable across networks."""
