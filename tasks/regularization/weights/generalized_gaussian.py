"""Generalized-Gaussian prior: a peaked distribution of weights, which takes few bits to store."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from scipy.special import gammaincinv
from torch import Tensor, nn

from synthct.tasks.regularization import REGULARIZERS
from synthct.tasks.regularization.base import Memory, PeriodicPenalty, Step
from synthct.tasks.regularization.layers import Filters

SHAPES = (0.1, 3.0)
"""Smallest and largest shape that a fit returns, as in the table of the paper."""

ROUNDING = 0.01
"""Below this fraction of the scale the cost is rounded, so that its slope at zero is zero."""


@REGULARIZERS.register("generalized_gaussian")
@dataclass(frozen=True)
class GeneralizedGaussian(Filters, PeriodicPenalty):
    r"""Negative logarithm of a generalized-Gaussian prior on the weights, layer by layer.

    .. math:: \sum_l \sum_i \left(\frac{|w_{l,i}|}{\alpha_l}\right)^{\nu_l}, \qquad
              p(w) = \frac{\nu}{2\alpha\,\Gamma(1/\nu)}\, e^{-(|w|/\alpha)^\nu}

    up to a constant, in nats. The shape :math:`\nu` is 2 for a Gaussian and 1 for a Laplace
    distribution; smaller values give a sharper peak and longer tails, as trained weights have.
    Small weights are pulled to zero, large ones hardly change, and the weights can be stored in
    fewer bits. The scale :math:`\alpha` is set so that the distribution has the standard deviation
    of the layer's initial weights, and is then kept, so that the prior is proper. A fitted shape
    follows from :math:`\langle w^2\rangle / \langle|w|\rangle^2 =
    \Gamma(1/\nu)\Gamma(3/\nu) / \Gamma(2/\nu)^2`, as in the paper. Within 1 % of the scale the
    corner at zero is rounded. Independent of the batch.

    ``deepshape`` adds the paper's step after training: the weights of a layer that may be
    released are mapped, keeping their order, to the quantiles of a sharper distribution, before
    they are validated. The paper fits one distribution to a whole language model and lets its
    scale shrink. Here each layer has its own at constant standard deviation, because layers differ
    in scale and are followed by norms: an adaptation. ``initialise`` adds its peaked
    initialisation: initial weights are mapped to the shape of the prior in the same way. The
    paper's 8-bit number format RF8 is not here: releases use the 8-bit integers of ONNX Runtime.

    For synthetic CT: small models for clinics, and a prior when there are few patients.

    Acts at ``penalty``; reshapes at ``kept``.

    Parameters
    ----------
    shape
        :math:`\nu` for all layers. None: fitted to each layer's initial weights, between 0.1 and
        3; for a training that continues from trained weights, since newly initialised ones are
        uniform or Gaussian, not peaked (the paper initialises with peaked ones).
    deepshape
        Whether to reshape the weights that may be released.
    initialise
        Whether to reshape the initial weights; needs a ``shape``.
    sharpening
        Ratio of the shape after reshaping to the fitted shape before it (0.8 in the paper).

    References
    ----------
    Wu, Xiong, Wen & Han, It Takes a Good Model to Train a Good Model: Generalized Gaussian
    Priors for Optimized LLMs, arXiv:2506.00486 (2025).
    """

    shape: float | None = 0.8
    deepshape: bool = False
    initialise: bool = False
    sharpening: float = 0.8

    def __post_init__(self) -> None:
        if self.shape is not None and self.shape <= 0:
            raise ValueError(f"shape must be positive, got {self.shape}")
        if not 0 < self.sharpening <= 1:
            raise ValueError(f"sharpening must be in (0, 1], got {self.sharpening}")
        if self.initialise and self.shape is None:
            raise ValueError("initialise must be with a shape, which cannot be fitted before")
        super().__post_init__()

    def begin(self, step: Step) -> None:
        """Reshape the initial weights if asked to, and fit the distribution of every layer."""
        if self.initialise and self.shape is not None and step.number == 0:
            with torch.no_grad():
                for weight in self._weights(step.model):
                    _reshape(weight, max(SHAPES[0], self.shape))
        for name, matrix in self.matrices(step.model):
            step.memory[name] = torch.tensor(
                fit_distribution(matrix, self.shape), dtype=torch.float64
            )

    def cost(self, step: Step) -> Tensor:
        """Sum over the weights; a scalar [nat]."""
        if not step.memory:  # the strength was zero when the run began
            self.begin(step)
        costs = [
            _cost(matrix, *step.memory[name].tolist()) for name, matrix in self.matrices(step.model)
        ]
        return torch.stack(costs).sum()

    def kept(self, model: nn.Module, memory: Memory) -> None:
        """Reshape the weights that may be released, if ``deepshape`` is set."""
        if self.deepshape:
            for weight in self._weights(model):
                shape, _ = fit_distribution(weight)
                _reshape(weight, max(SHAPES[0], self.sharpening * shape))

    def _weights(self, model: nn.Module) -> Iterator[Tensor]:
        for _, module in self.modules(model):
            weight = module.weight
            assert isinstance(weight, Tensor)
            yield weight


def fit_distribution(weights: Tensor, shape: float | None = None) -> tuple[float, float]:
    """Shape and scale of the zero-mean distribution with the first two absolute moments of weights.

    With a given ``shape``, only the scale is fitted.
    """
    weights = weights.detach().double()
    square, length = float((weights**2).mean()), float(weights.abs().mean())
    if square == 0:
        return shape or SHAPES[1], 1.0
    if shape is None:
        shape = _shape_of_ratio(square / length**2)
    log_ratio = math.lgamma(1 / shape) - math.lgamma(3 / shape)
    return shape, math.sqrt(square) * math.exp(0.5 * log_ratio)


def _shape_of_ratio(ratio: float) -> float:
    """Solve for the shape by bisection; the moment ratio decreases with the shape."""
    low, high = SHAPES
    for _ in range(50):
        middle = 0.5 * (low + high)
        there = math.lgamma(1 / middle) + math.lgamma(3 / middle) - 2 * math.lgamma(2 / middle)
        low, high = (middle, high) if there > math.log(ratio) else (low, middle)
    return 0.5 * (low + high)


def _cost(matrix: Tensor, shape: float, scale: float) -> Tensor:
    rounded: Tensor = ((matrix / scale) ** 2 + ROUNDING**2) ** (0.5 * shape)
    return rounded.sum()


def _reshape(weight: Tensor, shape: float) -> None:
    """Map the weights, keeping order and spread, to quantiles of a zero-mean distribution."""
    _, scale = fit_distribution(weight, shape)
    flat = weight.detach().flatten()
    order = flat.argsort()
    distance = 2 * (np.arange(len(flat)) + 0.5) / len(flat) - 1  # twice the rank past the median
    reach = gammaincinv(1 / shape, np.abs(distance)) ** (1 / shape)
    quantiles = torch.as_tensor(scale * np.sign(distance) * reach).to(flat)
    moved = torch.empty_like(flat)
    moved[order] = quantiles
    with torch.no_grad():
        weight.copy_(moved.view_as(weight))
