"""Two measures of the alignment of images of two modalities.

The registration optimises the first but not the second, so that the second detects a
misregistration with a high value of the optimised measure.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from synthct.tasks.fields.slabs import slabs

BINS = 48
"""Number of bins per image (joint histogram); about 50 voxels or more per bin pair are needed."""

TAILS_PERCENT = 0.5
"""Percentage of voxels clipped at each end of the intensities, to limit the effect of metal [%]."""

CHUNK = 2**20
"""Number of voxels added to a histogram at a time."""

SMOOTH_REACH = 4
"""Radius of the Gaussian filter applied before a gradient (standard deviation 1) [voxels]."""


def normalised_mutual_information(
    first: NDArray[Any], second: NDArray[Any], mask: NDArray[Any], *, bins: int = BINS
) -> float:
    r""":math:`(H_A + H_B) / H_{AB}` over the mask: 1 independent, 2 bijectively related.

    References
    ----------
    Studholme, Hill & Hawkes, Pattern Recognition 32 (1999) 71-86.
    """
    inside = np.asarray(mask) > 0
    pair = first[inside], second[inside]
    limits = [_tails(values) for values in pair]
    edges = [np.histogram_bin_edges(np.array(ends), bins) for ends in limits]
    joint = np.zeros((bins, bins))
    for start in range(0, len(pair[0]), CHUNK):
        a, b = (
            np.clip(values[start : start + CHUNK].astype(np.float64), *ends)
            for values, ends in zip(pair, limits, strict=True)
        )
        joint += np.histogram2d(a, b, bins=(edges[0], edges[1]))[0]
    probability = joint / joint.sum()
    together = entropy(probability.ravel())
    if together == 0.0:
        return 1.0  # two constant images share no information
    apart = entropy(probability.sum(axis=0)) + entropy(probability.sum(axis=1))
    return float(apart / together)


def gradient_agreement(
    first: NDArray[Any],
    second: NDArray[Any],
    mask: NDArray[Any],
    spacing_mm: tuple[float, float, float],
) -> float:
    r"""Mean squared cosine between the gradients of two images: 0 unrelated, near 1 aligned.

    :math:`\langle\nabla a, \nabla b\rangle^2 / ((|\nabla a|^2 + \varepsilon_a^2)
    (|\nabla b|^2 + \varepsilon_b^2))`, where :math:`\varepsilon` is the mean gradient
    magnitude inside the mask, so that noise does not count as an edge. Independent of the sign
    and size of the contrast, hence of modality.

    References
    ----------
    Haber & Modersitzki, Methods Inf Med 46 (2007) 292-299.
    """
    inside = np.asarray(mask) > 0
    limits = [_tails(image[inside]) for image in (first, second)]
    products: tuple[list[NDArray[np.float64]], ...] = ([], [], [])
    for slab in slabs(inside, (SMOOTH_REACH + 1,) * 3):
        a, b = (
            _gradients(image[slab.box], slab.here, ends, spacing_mm)
            for image, ends in zip((first, second), limits, strict=True)
        )
        for kept, (left, right) in zip(products, ((a, a), (b, b), (a, b)), strict=True):
            kept.append((left * right).sum(axis=0))
    of_a, of_b, dot = (np.concatenate(parts) for parts in products)
    for squared in (of_a, of_b):
        epsilon = np.sqrt(squared).mean()
        squared += max(epsilon**2, np.finfo(np.float64).tiny)
    dot *= dot
    of_a *= of_b
    dot /= of_a
    return float(dot.mean())


def _gradients(
    image: NDArray[Any],
    here: NDArray[np.bool_],
    limits: tuple[float, float],
    spacing_mm: tuple[float, float, float],
) -> NDArray[np.float64]:
    """Gradients (3, n) of the clipped image at the voxels of a mask."""
    smooth = gaussian_filter(np.clip(image.astype(np.float32), *limits), 1.0, radius=SMOOTH_REACH)
    return np.stack([part[here] for part in _slopes(smooth, spacing_mm)], dtype=np.float64)


def _slopes(
    image: NDArray[np.float32], spacing_mm: tuple[float, float, float]
) -> tuple[NDArray[np.float32], ...]:
    return tuple(np.gradient(image, step, axis=axis) for axis, step in enumerate(spacing_mm))


def overlap_dice(first: NDArray[Any], second: NDArray[Any]) -> float:
    r"""Dice coefficient :math:`2|A \cap B| / (|A| + |B|)` of two masks; 0 when both are empty."""
    a, b = np.asarray(first) > 0, np.asarray(second) > 0
    total = int(a.sum()) + int(b.sum())
    return 2.0 * int((a & b).sum()) / total if total else 0.0


def _tails(values: NDArray[Any]) -> tuple[float, float]:
    """Lower and upper intensity for percentile clipping."""
    exact = values.astype(np.float64)
    ends = (TAILS_PERCENT, 100 - TAILS_PERCENT)
    low, high = np.percentile(exact, ends, overwrite_input=True)
    return low, high


def entropy(probability: NDArray[np.float64]) -> float:
    r""":math:`-\sum p \ln p`; cells of probability 0 contribute 0 [nat]."""
    positive = probability[probability > 0]
    return float(-(positive * np.log(positive)).sum())
