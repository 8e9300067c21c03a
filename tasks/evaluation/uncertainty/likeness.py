"""Out-of-domain warning: whether a scan is like those that the network was trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.stats import t as student_t

from synthct.data.tables import six_digits
from synthct.tasks.evaluation.naive import SourceImages

MIN_TRAINING_SCANS = 4
"""With fewer training scans their variability is unknown."""

FALSE_ALARM_RATE = 0.05
"""Share of in-domain scans that are warned about anyway, if features were normally distributed."""

FLOOR = 0.05
"""Smallest spread of a feature: less is no difference, however similar the training scans are."""

SHADING_MM = 40.0
"""Scale above which varying brightness is due to the coil (or scatter), not to anatomy."""

Features = Mapping[str, float]


def features(images: SourceImages, spacing_mm: tuple[float, float, float]) -> dict[str, float]:
    """Appearance of a scan as eleven numbers.

    Seven quantiles of the scaled source inside the body; logarithms of its noise (second
    differences within a row, whose median ignores edges), of its texture, of its shading
    (the variation left after smoothing over ``SHADING_MM`` inside the body), and of the body's
    volume [l].
    """
    scaled = images.scaled().astype(np.float64)
    whole = np.zeros(images.source.shape)
    whole[images.mask] = scaled
    coarse = (gaussian_filter(whole, 1.0) - gaussian_filter(whole, 3.0))[images.mask]
    deciles = np.quantile(scaled, np.linspace(0.1, 0.9, 7))
    litres = float(images.mask.sum()) * float(np.prod(spacing_mm)) / 1e6
    return {
        **{f"q{number}": float(value) for number, value in enumerate(deciles)},
        "noise": _log(_noise(whole, images.mask)),
        "texture": _log(_robust_sd(coarse)),
        "shading": _log(_shading(whole, images.mask, spacing_mm)),
        "volume": _log(litres),
    }


@dataclass(frozen=True, eq=False)
class TrainingScans:
    """What is usual among training scans: computed once, and compared with each new scan.

    Parameters
    ----------
    names
        The features, sorted.
    mean, spread
        Mean of each feature, and standard deviation of a new scan's distance from it.
    limit
        Largest distance that is not unusual.
    """

    names: tuple[str, ...]
    mean: NDArray[np.float64]
    spread: NDArray[np.float64]
    limit: float

    @classmethod
    def of(cls, training: Sequence[Features]) -> TrainingScans | None:
        """The summary; None for fewer than ``MIN_TRAINING_SCANS`` scans."""
        n = len(training)
        if n < MIN_TRAINING_SCANS:
            return None
        names = tuple(sorted(training[0]))
        known = np.array([[one[name] for name in names] for one in training])
        spread = np.maximum(known.std(axis=0, ddof=1), FLOOR) * np.sqrt(1 + 1 / n)
        limit = float(student_t.isf(FALSE_ALARM_RATE / len(names) / 2, n - 1))
        return cls(names, known.mean(axis=0), spread, limit)


def feature_deviations(case: Features, training: TrainingScans | None) -> dict[str, Any]:
    r"""Distance of a scan from the training scans, by its most unusual feature.

    :math:`t_k = \frac{x_k - \bar m_k}{s_k \sqrt{1 + 1/n}}` of a new scan of the same kind has
    Student's t distribution with :math:`n - 1` degrees of freedom. ``distance`` is the largest
    :math:`|t_k|`; ``limit`` is exceeded by at most ``FALSE_ALARM_RATE`` of such scans (Bonferroni,
    valid for correlated features too). One unusual feature is enough: a mean over all of them
    would hide noise that is five times too high.
    """
    if training is None:
        return {"distance": None, "limit": None, "unlike": None, "because": ""}
    here = np.array([case[name] for name in training.names])
    apart = np.abs(here - training.mean) / training.spread
    return {
        "distance": six_digits(apart.max()),
        "limit": six_digits(training.limit),
        "unlike": bool(apart.max() > training.limit),
        "because": training.names[int(apart.argmax())],
    }


def _noise(whole: NDArray[np.float64], mask: NDArray[np.bool_]) -> float:
    """Standard deviation of white noise, from rows of three voxels inside the body."""
    three = mask[..., 2:] & mask[..., 1:-1] & mask[..., :-2]
    second = np.abs(np.diff(whole, 2, axis=-1))[three]
    return float(np.median(second)) / (0.6745 * 6**0.5) if second.size else 0.0


def _shading(
    whole: NDArray[np.float64], mask: NDArray[np.bool_], spacing_mm: tuple[float, float, float]
) -> float:
    """Standard deviation of the local mean inside the body."""
    sigmas = [SHADING_MM / 2 / spacing for spacing in spacing_mm]
    share = gaussian_filter(mask.astype(np.float64), sigmas)[mask]
    return float((gaussian_filter(whole, sigmas)[mask] / share).std())


def _robust_sd(values: NDArray[np.float64]) -> float:
    return float(1.4826 * np.median(np.abs(values - np.median(values))))


def _log(value: float) -> float:
    return float(np.log(max(value, 1e-9)))
