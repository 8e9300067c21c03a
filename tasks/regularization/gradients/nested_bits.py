"""Nested bits: one set of 8-bit weights whose leading bits are good weights of fewer bits."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from synthct.tasks.models.rounding import MAX_BITS, rounded
from synthct.tasks.regularization import REGULARIZERS
from synthct.tasks.regularization.base import Step
from synthct.tasks.regularization.gradients.displaced import gradient_at, with_gradient
from synthct.tasks.regularization.layers import Filters


@REGULARIZERS.register("nested_bits")
@dataclass(frozen=True)
class NestedBits(Filters):
    r"""The objective also at the weights that the leading 8, 4 and 2 bits represent.

    .. math:: L(w) + s \sum_{b} \lambda_b\, L(Q_b(w)),

    where :math:`Q_b` keeps the *b* leading bits of weights that are rounded to 8 bits with one
    step for each filter (:mod:`synthct.tasks.models.rounding`). Gradients pass the rounding as if
    it were not there (straight through). In each step one width is drawn and counts as many times
    as there are widths, which has the same mean and costs one pass instead of three: an adaptation.
    In the units of the objective.

    The shrinker ``weight_bits`` releases the 8 or 4 leading bits.

    For synthetic CT: releases of an eighth of the bytes, for devices with little storage.

    Acts at ``gradient``.

    Parameters
    ----------
    bits
        Widths, from 2 to 8.
    shares
        :math:`\lambda_b`, one for each width; empty: 1 for all.

    References
    ----------
    Nair et al., Matryoshka Quantization, arXiv:2502.06786 (2025).
    """

    bits: tuple[int, ...] = (8, 4, 2)
    shares: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not self.bits or any(not 2 <= width <= MAX_BITS for width in self.bits):
            raise ValueError(f"bits must be from 2 to {MAX_BITS}, got {self.bits}")
        if self.shares and len(self.shares) != len(self.bits):
            raise ValueError(f"shares must be {len(self.bits)} numbers, got {self.shares}")

    def gradient(self, step: Step) -> None:
        """Add the gradient at the rounded weights of the width that was drawn."""
        drawn = int(torch.randint(len(self.bits), (), generator=step.rng))
        share = self.shares[drawn] if self.shares else 1.0
        own = {id(module.weight) for _, module in self.modules(step.model)}
        parameters = with_gradient(step.model)
        moved = [
            _rounded(p, self.bits[drawn]) - p.detach() if id(p) in own else torch.zeros_like(p)
            for p in parameters
        ]
        there = gradient_at(step.objective, parameters, moved, 1.0)
        for parameter, slope in zip(parameters, there, strict=True):
            assert parameter.grad is not None
            parameter.grad = parameter.grad + step.strength * share * len(self.bits) * slope


def _rounded(weight: Tensor, bits: int) -> Tensor:
    values = weight.detach().float().cpu().numpy()
    return torch.from_numpy(rounded(values, bits)).to(weight)
