"""Is this scan like those the network learned from? A warning, not a score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from tasks.evaluation.naive import SourceImages

LEAST_TRAINING = 4
"""With fewer training scans nothing is known of how much they differ."""

SLACK = 2.0
"""A scan is unlike when it lies this many times farther out than the oddest training scan."""

FLOOR = 0.05
"""Least spread of a feature: what is below it is no difference, however alike the training is."""

Features = Mapping[str, float]


def features(images: SourceImages, spacing_mm: tuple[float, float, float]) -> dict[str, float]:
    """What the network sees of a scan, in ten numbers that no anatomy alone explains.

    Deciles of the scaled source inside the body, logarithms of its noise (a voxel less its
    Gaussian mean) and of its coarser texture, and of the body's volume.
    """
    scaled = images.scaled().astype(np.float64)
    whole = np.zeros(images.source.shape)
    whole[images.mask] = scaled
    fine = (whole - gaussian_filter(whole, 1.0))[images.mask]
    coarse = (gaussian_filter(whole, 1.0) - gaussian_filter(whole, 3.0))[images.mask]
    deciles = np.quantile(scaled, np.linspace(0.1, 0.9, 7))
    litres = float(images.mask.sum()) * float(np.prod(spacing_mm)) / 1e6
    return {
        **{f"q{number}": float(value) for number, value in enumerate(deciles)},
        "noise": _log(_robust_sd(fine)),
        "texture": _log(_robust_sd(coarse)),
        "volume": _log(litres),
    }


def unlikeness(case: Features, training: Sequence[Features]) -> dict[str, Any]:
    r"""Distance of a scan from its training scans, and where distance becomes a warning.

    :math:`d = \sqrt{\operatorname{mean}_k ((x_k - m_k)/s_k)^2}` with the training's medians and
    robust spreads; ``limit`` is twice the largest distance of a training scan from the others.
    """
    if len(training) < LEAST_TRAINING:
        return {"distance": None, "limit": None, "unlike": None, "because": ""}
    names = sorted(case)
    known = np.array([[one[name] for name in names] for one in training])
    own = [_distance(known[i], np.delete(known, i, axis=0)) for i in range(len(known))]
    here = np.array([case[name] for name in names])
    distance, limit = _distance(here, known), SLACK * max(own)
    apart = np.abs(here - np.median(known, axis=0)) / _spread(known)
    return {
        "distance": float(f"{distance:.6g}"),
        "limit": float(f"{limit:.6g}"),
        "unlike": bool(distance > limit),
        "because": names[int(apart.argmax())],
    }


def _distance(here: NDArray[np.float64], known: NDArray[np.float64]) -> float:
    apart = (here - np.median(known, axis=0)) / _spread(known)
    return float(np.sqrt(np.mean(apart**2)))


def _spread(known: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.maximum(np.ptp(known, axis=0) / 2, FLOOR))


def _robust_sd(values: NDArray[np.float64]) -> float:
    return float(1.4826 * np.median(np.abs(values - np.median(values))))


def _log(value: float) -> float:
    return float(np.log(max(value, 1e-9)))
