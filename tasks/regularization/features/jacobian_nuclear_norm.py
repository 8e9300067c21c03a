"""Nuclear norm of the Jacobian: locally, the output varies along few directions of the input."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from synthct.tasks.regularization import REGULARIZERS
from synthct.tasks.regularization.base import Periodic, Step
from synthct.tasks.regularization.layers import LayerOutput


@REGULARIZERS.register("jacobian_nuclear_norm")
@dataclass(frozen=True)
class JacobianNuclearNorm(LayerOutput, Periodic):
    r"""Half the squared norms :math:`\|J_g\|_F^2 + \|J_h\|_F^2` for :math:`f = g \circ h`.

    The minimum of this mean over all factorisations of *f* is the nuclear norm
    :math:`\|J_f\|_*` (sum of singular values), so penalising it penalises the rank, without
    a Jacobian or a singular value decomposition. The Frobenius norms are estimated: with
    Gaussian noise :math:`\epsilon, \epsilon'` of standard deviation :math:`\sigma`,

    .. math:: \frac{1}{2 n \sigma^2}\left(\|h(x + \epsilon) - h(x)\|^2 +
              \|g(h(x) + \epsilon') - g(h(x))\|^2\right)

    with *n* the number of output voxels, so that the value depends neither on patch nor on batch
    size. One extra pass gives both terms: *h* is read at ``layer``, and *g* continues from
    :math:`h(x) + \epsilon'`. All samples of a batch get the same noise. Every path from input to
    output must pass through the layer (the default does; in the U-Net++ ``encoder.stem`` and
    ``nodes.x04`` do if there is no skip connection at full size). No unit (network units in and
    out).

    For synthetic CT: noise and artefacts of the source change the output along few directions
    only, as in a denoiser.

    Acts at ``penalty``.

    Parameters
    ----------
    layer
        Layer at which *f* is split; empty: the last activation before the last convolution.
    noise
        :math:`\sigma` [network units].
    every
        Act at each k-th step only, k times as strongly: k times less computation.

    References
    ----------
    Scarvelis & Solomon, Nuclear Norm Regularization for Deep Learning, NeurIPS 2024,
    arXiv:2405.14544.
    """

    noise: float = 0.1

    incompatible: ClassVar[frozenset[str]] = frozenset(
        {"manifold_mixup", "early_late_dropout", "nested_dropout"}
    )

    def __post_init__(self) -> None:
        if self.noise <= 0:
            raise ValueError(f"noise must be positive, got {self.noise}")
        super().__post_init__()

    def collects(self, model: nn.Module) -> Sequence[str]:
        """The layer at which the network is split."""
        return self.chosen(model)

    def penalty(self, step: Step) -> Tensor | None:
        """Mean of both squared Frobenius norms, estimated by noise; a scalar."""
        if not self.is_due(step):
            return None
        ((layer, feature),) = step.features.items()
        moved, predicted = self._moved(step, layer, feature)
        hidden = (moved - feature).to(step.prediction.dtype)
        total = hidden.square().sum() + (predicted - step.prediction).square().sum()
        voxels = step.prediction[:, :1].numel()
        return self.every * total / (2 * voxels * self.noise**2)

    def _moved(self, step: Step, layer: str, feature: Tensor) -> tuple[Tensor, Tensor]:
        """``h(x + noise)`` and ``g(h(x) + noise)``, in one pass."""
        rng, source, seen = step.rng, step.batch.source, []

        def cut(_module: nn.Module, _inputs: object, output: Tensor) -> Tensor:
            seen.append(output)
            return feature + self._noise(feature, rng)

        handle = step.model.get_submodule(layer).register_forward_hook(cut)
        try:
            predicted = step.forward(source + self._noise(source, rng))
        finally:
            handle.remove()
        return seen[0], predicted

    def _noise(self, like: Tensor, rng: torch.Generator) -> Tensor:
        """Noise of the shape of one sample, the same for all samples of the batch."""
        drawn = torch.randn(like.shape[1:], generator=rng, dtype=torch.float64)
        return self.noise * drawn.to(like.device, like.dtype)
