"""Latent masked modelling: predict the teacher's embeddings of hidden voxels."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from synthct.tasks.pretraining.base import Features, Memory, Views
from synthct.tasks.pretraining.objectives import OBJECTIVES


@OBJECTIVES.register("masked_latents")
@dataclass(frozen=True)
class MaskedLatents:
    r"""Cross-entropy of retrieving each hidden voxel's embedding by the teacher.

    .. math:: -\left\langle \log \frac{e^{q_i \cdot k_i / \tau}}
        {\sum_j e^{q_i \cdot k_j / \tau}} \right\rangle

    The network sees windows of which blocks are hidden, and its predictor gives *q* at voxels
    inside them; the teacher, the moving average of the network, sees the whole windows and gives
    *k*. Both have length 1, and *j* runs over the hidden voxels of the same window, so that
    distinguishing scans does not help. The network learns which anatomy to expect between visible
    parts, not its intensities.

    Parameters
    ----------
    temperature
        :math:`\tau`, above 0.

    References
    ----------
    Wei, Gupta & Morgado, Towards Latent Masked Image Modeling for Self-Supervised Visual
    Representation Learning, ECCV 2024, arXiv:2407.15837 (patch-wise contrast, teacher as moving
    average). There a transformer predicts patches; here a convolutional network predicts voxels.
    """

    temperature: float = 0.2

    def __post_init__(self) -> None:
        if self.temperature <= 0:
            raise ValueError(f"temperature must be positive, got {self.temperature}")

    def __call__(self, views: Views, features: Features, memory: Memory) -> Tensor:
        """Mean over the hidden voxels; a scalar [nats]."""
        count = views.hidden_places.shape[1]
        guess = features.predicted(views.masked(), views.hidden_places)
        truth = features.taught(views.first, views.hidden_places)
        q, k = (
            functional.normalize(each, dim=1).unflatten(0, (-1, count)) for each in (guess, truth)
        )
        logits = (q @ k.transpose(1, 2) / self.temperature).flatten(0, 1)
        right = torch.arange(count, device=logits.device).repeat(len(q))
        return functional.cross_entropy(logits, right)
