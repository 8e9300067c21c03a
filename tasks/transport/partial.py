"""Partial transport between intensity laws: mass without a counterpart is left behind at a cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Embedding:
    """Linear optimal partial transport embedding of a measure, relative to a reference.

    Parameters
    ----------
    moved
        Displacement of each reference point's mass; 0 where it is not kept (N,).
    kept
        Which points of the reference find a counterpart (N,).
    alone
        Number of points of the measure without a counterpart in the reference.
    """

    moved: Floats
    kept: NDArray[np.bool_]
    alone: int

    def distance(self, other: Embedding, reach: float) -> float:
        r"""Squared distance of two embeddings, for atoms of mass 1.

        .. math:: \sum_{k \in K_1 \cap K_2} \min\big((u_{1k} - u_{2k})^2, r^2\big)
                  + \tfrac{r^2}{2} \left(|K_1 \triangle K_2| + m_1 + m_2\right)

        with the displacements *u*, the points kept *K*, and the points *m* that have no
        counterpart. Against the reference's own embedding it is the partial transport cost.
        """
        both = self.kept & other.kept
        gaps = np.minimum((self.moved - other.moved)[both] ** 2, reach**2)
        alone = np.count_nonzero(self.kept ^ other.kept) + self.alone + other.alone
        return float(gaps.sum() + reach**2 / 2 * alone)


def embed(reference: NDArray[Any], points: NDArray[Any], reach: float) -> Embedding:
    r"""Optimal partial transport of points of mass 1 from ``reference`` (N,) to ``points`` (M,).

    .. math:: \min_{\gamma \ \text{a partial matching}} \sum_{(i, j) \in \gamma} (x_i - y_j)^2
              + \lambda \left(N + M - 2 |\gamma|\right), \qquad \lambda = r^2 / 2

    A pair farther apart than the reach *r* costs more than leaving both behind. Unlike transport
    of whole laws, points that only one side has change nothing for the others: a scan whose field
    of view cuts off the fat keeps its muscle where it is.

    Parameters
    ----------
    reach
        Largest distance *r* that mass is moved [unit of the points].

    References
    ----------
    Bai, Medri, Diaz Martin, Shahroz & Kolouri, Linear Optimal Partial Transport Embedding, ICML
    2023, arXiv:2302.03232.
    """
    pairs = _matched(np.asarray(reference, np.float64), np.asarray(points, np.float64), reach)
    moved, kept = np.zeros(len(reference)), np.zeros(len(reference), bool)
    for here, there in pairs:
        moved[here], kept[here] = points[there] - reference[here], True
    return Embedding(moved, kept, len(points) - len(pairs))


def _matched(x: Floats, y: Floats, reach: float) -> list[tuple[int, int]]:
    """The matching as pairs (index in x, index in y), both increasing."""
    gain = np.maximum(reach**2 - (x[:, None] - y) ** 2, 0.0)
    rows, columns = linear_sum_assignment(gain, maximize=True)
    used = gain[rows, columns] > 0
    # Sorted against sorted is optimal among the points that are used, whatever the solver's ties.
    left, right = (
        used_points[np.argsort(values[used_points], kind="stable")]
        for used_points, values in ((rows[used], x), (columns[used], y))
    )
    return list(zip(left.tolist(), right.tolist(), strict=True))
