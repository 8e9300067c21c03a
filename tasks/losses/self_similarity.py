"""Self-similarity descriptors (MIND-SSC) of images and volumes, as features for losses."""

from __future__ import annotations

from itertools import combinations

import torch
from torch import Tensor
from torch.nn import functional

DILATION, RADIUS = 2, 1
"""Distance of the neighbours and radius of the box around them [voxels]."""

VARIANCE_LIMITS = (0.001, 1000.0)
"""Bounds of the local variance, relative to its mean over the image."""

SOFTENING = 1e-6
"""Added to the variance [squared units of an image in [0, 1]]: constant images give 1."""


def self_similarity(image: Tensor) -> list[Tensor]:
    r"""MIND-SSC: :math:`\exp(-(D_c - \min_c D_c) / V)`, *D* box means of :math:`(I_a - I_b)^2`.

    (a, b) are the pairs of neighbours at a squared distance of 2: twelve for a volume, four for
    a slice; *V* is the mean over the pairs, clamped to a range around its mean.

    Parameters
    ----------
    image
        (B, 1, [Z,] Y, X) in [0, 1].

    Returns
    -------
    list of Tensor
        One map (B, pairs, [Z,] Y, X) without unit, as a TorchScript feature network returns.

    References
    ----------
    Heinrich, Jenkinson, Papież, Brady & Schnabel, Towards realtime multimodal fusion for
    image-guided interventions using self-similarities, MICCAI 2013,
    doi:10.1007/978-3-642-40811-3_24.
    """
    dims = image.ndim - 2
    distance = torch.cat([_distance(image, a, b) for a, b in _pairs(dims)], dim=1)
    excess = distance - distance.amin(dim=1, keepdim=True)
    variance = excess.mean(dim=1, keepdim=True)
    middle = variance.flatten(1).mean(dim=1).view(-1, *[1] * (dims + 1)).detach()
    low, high = (limit * middle for limit in VARIANCE_LIMITS)
    return [torch.exp(-excess / (variance.clamp(low, high) + SOFTENING))]


def _pairs(dims: int) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    neighbours = []
    for axis in range(dims):
        for sign in (-1, 1):
            neighbours.append(tuple(sign if at == axis else 0 for at in range(dims)))
    return [
        (a, b)
        for a, b in combinations(neighbours, 2)
        if sum((p - q) ** 2 for p, q in zip(a, b, strict=True)) == 2
    ]


def _distance(image: Tensor, a: tuple[int, ...], b: tuple[int, ...]) -> Tensor:
    dims = image.ndim - 2
    squared = (_shifted(image, a) - _shifted(image, b)) ** 2
    padded = functional.pad(squared, [RADIUS] * 2 * dims, mode="replicate")
    pool = functional.avg_pool2d if dims == 2 else functional.avg_pool3d
    return pool(padded, 2 * RADIUS + 1, stride=1)


def _shifted(image: Tensor, by: tuple[int, ...]) -> Tensor:
    padded = functional.pad(image, [DILATION] * 2 * (image.ndim - 2), mode="replicate")
    for axis, (step, length) in enumerate(zip(by, image.shape[2:], strict=True), start=2):
        padded = padded.narrow(axis, DILATION + step * DILATION, length)
    return padded
