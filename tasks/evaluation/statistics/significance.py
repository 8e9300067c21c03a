"""Whether one method beats another on the same patients: Wilcoxon's test, Holm's correction."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

LEAST_CASES = 6
"""With five patients the smallest two-sided p is 1/16: nothing could be found at 5 %."""


def wilcoxon_p(first: NDArray[Any], second: NDArray[Any]) -> float | None:
    """Two-sided p of Wilcoxon's signed-rank test on paired scores; none for too few patients.

    Exact where there are no ties and at most 50 pairs. Pairs without a difference count half to
    each side (Pratt); all pairs equal: 1.

    References
    ----------
    Wilcoxon, Biometrics Bulletin 1 (1945) 80-83; Pratt, JASA 54 (1959) 655-667.
    """
    difference = np.asarray(first, float) - np.asarray(second, float)
    if len(difference) < LEAST_CASES:
        return None
    if not difference.any():
        return 1.0
    from scipy.stats import wilcoxon

    return float(wilcoxon(difference, zero_method="pratt").pvalue)


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    r"""Holm's adjusted p of a family: :math:`\max_{j \le i} \min(1, (m - j + 1)\,p_{(j)})`.

    References
    ----------
    Holm, Scandinavian Journal of Statistics 6 (1979) 65-70.
    """
    adjusted: dict[str, float] = {}
    largest = 0.0
    for rank, name in enumerate(sorted(p_values, key=lambda name: (p_values[name], name))):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[name]))
        adjusted[name] = largest
    return adjusted
