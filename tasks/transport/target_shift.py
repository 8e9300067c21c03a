"""Importance weights of HU for a site whose patients have other proportions of tissue.

For use from Python: no command and no stage computes them. ``HuWeights.as_options`` gives the
options of the loss ``l1_by_hu`` for ``params.yaml``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from synthct.data.errors import DataError

Floats = NDArray[np.float64]

MIN_VOXELS = 100
"""Minimum number of voxels for estimating a law."""


@dataclass(frozen=True, eq=False)
class HuWeights:
    """Weight of each band of HU: its share at the other site over its share in training.

    Parameters
    ----------
    edges_hu
        Edges of the bands, rising (K + 1,).
    weights
        Not negative; their mean over training voxels is 1 (K,).
    """

    edges_hu: Floats
    weights: Floats

    def __call__(self, hu: NDArray[Any]) -> Floats:
        """Weight of each voxel from its HU (any shape); outside the bands, the nearest band's."""
        band = np.searchsorted(self.edges_hu, hu, side="right") - 1
        return np.asarray(self.weights[np.clip(band, 0, self.weights.size - 1)])

    def as_options(self) -> dict[str, list[float]]:
        """Options of the loss ``l1_by_hu`` in ``params.yaml``."""
        return {
            "edges_hu": self.edges_hu[1:-1].tolist(),
            "weights": [float(f"{weight:.4g}") for weight in self.weights],
        }

    def of_case(self, hu: NDArray[Any]) -> float:
        """Mean weight of a training case's voxels: how often to draw it."""
        return float(self(hu).mean())


def target_weights(
    source: NDArray[Any],
    hu: NDArray[Any],
    other_source: NDArray[Any],
    edges_hu: NDArray[Any],
    *,
    bins: int = 60,
    bandwidth_bins: float = 1.0,
    alpha: float = 1e-2,
) -> HuWeights:
    r"""Weights :math:`w(y) = p_t(y) / p_s(y)` from paired training voxels and unpaired new ones.

    The site changes the proportion of each tissue *y*, not its appearance, :math:`p_t(x | y) =
    p_s(x | y)`. Then *w* solves

    .. math:: (T w)(x) = E_s[w(Y) \mid X = x] = \frac{p_t(x)}{p_s(x)} = h(x),

    an ill-posed integral equation. With kernel estimates of the densities and Tikhonov's
    regularisation towards 1 (no shift), :math:`T 1 = 1`:

    .. math:: w = 1 + (\alpha I + T^* T)^{-1} T^* (h - 1), \qquad
              (T^* g)(y) = E_s[g(X) \mid Y = y].

    Negative values become 0, and *w* is scaled to mean 1 over training. The paper regularises
    towards 0; the two agree as :math:`\alpha \to 0`.

    Parameters
    ----------
    source, hu
        Intensities in network units and HU of the same training voxels (N,).
    other_source
        Intensities of voxels of the other site, in the same units (M,).
    edges_hu
        Edges of the bands of HU that get a weight.
    bins
        Bins of the intensities, between their 0.1st and 99.9th percentiles in training.
    bandwidth_bins
        Standard deviation of the Gaussian kernel of both laws of intensity [bins].
    alpha
        Strength of the regularisation; 0.001 to 0.1. The larger, the closer to 1.

    Raises
    ------
    DataError
        ``law-unmappable``: fewer than 100 voxels, intensities that are not finite or all equal, or
        none of the other site's within the range of training.

    References
    ----------
    Kim et al., ReTaSA: A Nonparametric Functional Estimation Approach for Addressing Continuous
    Target Shift, ICLR 2024, arXiv:2401.16410.
    """
    edges = np.asarray(edges_hu, np.float64)
    if edges.size < 3 or not (np.diff(edges) > 0).all():
        raise ValueError(f"edges_hu must be three numbers at least and rise, got {edges.tolist()}")
    if alpha <= 0 or bandwidth_bins < 0 or bins < 2:
        raise ValueError(
            f"alpha must be positive, bandwidth_bins at least 0 and bins at least 2, got {alpha}, "
            f"{bandwidth_bins} and {bins}"
        )
    _check(source, hu, other_source)
    lowest, highest = np.quantile(source, (0.001, 0.999))
    cells = np.linspace(lowest, highest, bins + 1)
    inner = (np.clip(hu, edges[0], edges[-1]), edges)
    joint, _, _ = np.histogram2d(np.clip(source, cells[0], cells[-1]), inner[0], [cells, edges])
    inside = (other_source >= cells[0]) & (other_source <= cells[-1])
    other, _ = np.histogram(np.asarray(other_source)[inside], cells)
    if not other.any():
        raise _unmappable("no intensity of the other site lies in the range of training")
    joint = gaussian_filter(joint, (bandwidth_bins, 0.0), mode="nearest") / joint.sum()
    other = gaussian_filter(other / other.sum(), bandwidth_bins, mode="nearest")
    return HuWeights(edges, _solved(joint, other, alpha))


def _solved(joint: Floats, other: Floats, alpha: float) -> Floats:
    """Weights of the bands from the joint law (bins, bands) and the other site's (bins,)."""
    of_x, of_y = joint.sum(axis=1), joint.sum(axis=0)
    seen, held = of_x > 0, of_y > 0
    weights = np.ones(of_y.size)
    table = joint[np.ix_(seen, held)]
    forward = table / of_x[seen, None]
    back = (table / of_y[held]).T
    ratio = other[seen] / of_x[seen]
    system = alpha * np.eye(int(held.sum())) + back @ forward
    weights[held] = np.maximum(1 + np.linalg.solve(system, back @ (ratio - 1)), 0.0)
    mean = float(weights[held] @ of_y[held] / of_y[held].sum())
    return np.asarray(weights / mean if mean > 0 else np.ones(of_y.size))


def _check(source: NDArray[Any], hu: NDArray[Any], other: NDArray[Any]) -> None:
    if source.shape != hu.shape or source.ndim != 1 or other.ndim != 1:
        raise ValueError(
            f"got shapes {source.shape}, {hu.shape} and {other.shape}, not (N,), (N,), (M,)"
        )
    for name, values in (("training", source), ("HU", hu), ("the other site", other)):
        if values.size < MIN_VOXELS or not np.isfinite(values).all():
            raise _unmappable(f"{name}: fewer than {MIN_VOXELS} voxels, or some are not finite")
    if np.min(source) == np.max(source):
        raise _unmappable("all training intensities are equal")


def _unmappable(problem: str) -> DataError:
    return DataError(
        problem,
        rule="importance weights compare the intensities of two sites",
        remedy="give scans of patients of both sites, in units of the same source scaling",
        code="law-unmappable",
    )
