"""Manifold mixup: samples are mixed in a hidden layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from synthct.tasks.models.contracts import Batch
from synthct.tasks.regularization import REGULARIZERS
from synthct.tasks.regularization.base import Step, missing_layers
from synthct.tasks.regularization.inputs.mixing import Mixture, draw_mixture
from synthct.tasks.regularization.layers import LayerOutputs

INPUT = "input"
"""Among ``layers``: the network's input."""


@REGULARIZERS.register("manifold_mixup")
@dataclass(frozen=True)
class ManifoldMixup(LayerOutputs):
    r"""Features of two samples, in a layer drawn at each step, and their targets are mixed.

    With :math:`f = f_k \circ g_k` split at a layer *k* drawn from ``layers``,

    .. math:: f_k\big(\lambda g_k(x_i) + (1-\lambda) g_k(x_j)\big) \approx
              \lambda y_i + (1-\lambda) y_j, \qquad \lambda \sim \mathrm{Beta}(\alpha, \alpha).

    The features of a layer become flat: they vary in few directions for each class. An
    adaptation from classification: targets are images, mixed voxel by voxel, and a mixed sample
    counts where both masks are 1. Every path from input to output should pass through a named
    layer: skip connections that bypass it do not carry the fine detail of the other sample. In
    the U-Net++ this holds for ``encoder.stem``, ``nodes.x04`` (if there is no skip connection at
    full size) and all of ``full_size``. A batch of one is not changed. Features keep shape and
    unit.

    For synthetic CT: smoother transitions between tissues in feature space, fewer outliers for
    anatomy between that of the training patients.

    Acts at ``perturb``; the strength is the probability that a sample is mixed, in [0, 1].

    Parameters
    ----------
    alpha
        Parameter of the Beta distribution; the paper uses larger values (1 or 2) than for inputs.
    layers
        Names of the layers to choose from, ``input`` for the input itself; empty: the input and
        the last activation before the last convolution.

    References
    ----------
    Verma et al., Manifold Mixup: Better Representations by Interpolating Hidden States, ICML
    2019, arXiv:1806.05236.
    """

    alpha: float = 1.0
    layers: tuple[str, ...] = ()

    incompatible: ClassVar[frozenset[str]] = frozenset(
        {"mixup", "adaptive_mixup", "jacobian_nuclear_norm"}
    )

    def __post_init__(self) -> None:
        if self.alpha <= 0:
            raise ValueError(f"alpha must be positive, got {self.alpha}")

    def named(self) -> Sequence[str]:
        """``layers``."""
        return self.layers

    def chosen(self, model: nn.Module) -> Sequence[str]:
        """The layers to choose from, ``input`` among them."""
        return self.layers or (INPUT, *self.role.find(model))

    def problems(self, model: nn.Module) -> list[str]:
        """Named layers that are absent; the input is always there."""
        if not self.layers:
            return super().problems(model)
        return missing_layers(model, [name for name in self.layers if name != INPUT])

    def hides(self, model: nn.Module) -> Sequence[str]:
        """All layers that may be drawn."""
        return [name for name in self.chosen(model) if name != INPUT]

    def perturb(self, step: Step) -> Batch:
        """Mix the targets, and the sources if the input is drawn."""
        layer, mixture = self._drawn(step)
        return mixture.of_batch(step.batch) if layer == INPUT else mixture.of_targets(step.batch)

    def hidden(self, layer: str, feature: Tensor, step: Step) -> Tensor:
        """Mix the output (B, C, ...) of the layer if it is the one that is drawn."""
        drawn, mixture = self._drawn(step)
        return mixture.of(feature) if layer == drawn else feature

    def _drawn(self, step: Step) -> tuple[str, Mixture]:
        """Layer and mixture of the step, the same whenever they are drawn in this step."""
        rng = step.rng
        candidates = self.chosen(step.model)
        layer = candidates[int(torch.randint(len(candidates), (), generator=rng))]
        count = step.batch.source.shape[0]
        return layer, draw_mixture(self.alpha, step.strength, count, rng)
