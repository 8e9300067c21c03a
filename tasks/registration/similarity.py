"""Two ways to ask whether images of two modalities lie on each other.

The first is what the engine optimises, the second is not: an engine that cheats its own measure
is caught by the other.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

BINS = 48
"""Of each image in the joint histogram; fewer voxels than about 50 per bin pair are too few."""

TAILS_PERCENT = 0.5
"""Darkest and brightest share of the voxels that is clipped: metal must not own the histogram."""


def normalised_mutual_information(
    first: NDArray[Any], second: NDArray[Any], mask: NDArray[Any], *, bins: int = BINS
) -> float:
    r""":math:`(H_A + H_B) / H_{AB}` over the mask: 1 independent, 2 one function of the other.

    References
    ----------
    Studholme, Hill & Hawkes, Pattern Recognition 32 (1999) 71-86.
    """
    inside = np.asarray(mask) > 0
    joint, _, _ = np.histogram2d(_clipped(first[inside]), _clipped(second[inside]), bins=bins)
    probability = joint / joint.sum()
    together = entropy(probability.ravel())
    if together == 0.0:
        return 1.0  # two constants tell nothing about each other
    apart = entropy(probability.sum(axis=0)) + entropy(probability.sum(axis=1))
    return float(apart / together)


def gradient_agreement(
    first: NDArray[Any],
    second: NDArray[Any],
    mask: NDArray[Any],
    spacing_mm: tuple[float, float, float],
) -> float:
    r"""Mean squared cosine between the edges of two images: 0 unrelated, towards 1 aligned.

    :math:`\langle\nabla a, \nabla b\rangle^2 / ((|\nabla a|^2 + \varepsilon_a^2)
    (|\nabla b|^2 + \varepsilon_b^2))`, where :math:`\varepsilon` is the mean gradient inside the
    mask, so that noise does not count as an edge. Blind to sign and contrast, hence to modality.

    References
    ----------
    Haber & Modersitzki, Methods Inf Med 46 (2007) 292-299.
    """
    inside = np.asarray(mask) > 0
    a, b = (_gradients(image, inside, spacing_mm) for image in (first, second))
    dot = (a[0] * b[0]).sum(axis=0)
    return float((dot**2 / (a[1] * b[1])).mean())


def _gradients(
    image: NDArray[Any], inside: NDArray[np.bool_], spacing_mm: tuple[float, float, float]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Gradients (3, n) inside the mask, and |gradient|^2 + epsilon^2 (n)."""
    low, high = np.percentile(image[inside], (TAILS_PERCENT, 100 - TAILS_PERCENT))
    smooth = gaussian_filter(np.clip(image.astype(np.float32), low, high), 1.0)
    gradient = np.stack([part[inside] for part in _slopes(smooth, spacing_mm)], dtype=np.float64)
    squared = (gradient**2).sum(axis=0)
    epsilon = np.sqrt(squared).mean()
    return gradient, squared + max(epsilon**2, np.finfo(np.float64).tiny)


def _slopes(
    image: NDArray[np.float32], spacing_mm: tuple[float, float, float]
) -> tuple[NDArray[np.float32], ...]:
    return tuple(np.gradient(image, step, axis=axis) for axis, step in enumerate(spacing_mm))


def overlap_dice(first: NDArray[Any], second: NDArray[Any]) -> float:
    r"""Dice coefficient :math:`2|A \cap B| / (|A| + |B|)` of two masks; 0 when both are empty."""
    a, b = np.asarray(first) > 0, np.asarray(second) > 0
    total = int(a.sum()) + int(b.sum())
    return 2.0 * int((a & b).sum()) / total if total else 0.0


def _clipped(values: NDArray[Any]) -> NDArray[np.float64]:
    exact = values.astype(np.float64)
    low, high = np.percentile(exact, (TAILS_PERCENT, 100 - TAILS_PERCENT))
    return np.clip(exact, low, high)


def entropy(probability: NDArray[np.float64]) -> float:
    r""":math:`-\sum p \ln p`; cells of probability 0 add nothing [nat]."""
    positive = probability[probability > 0]
    return float(-(positive * np.log(positive)).sum())
