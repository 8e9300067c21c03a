"""Two-level bootstrap: patients, and the training runs that answered them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from synthct.tasks.evaluation.statistics.paired import MIN_CASES, Interval

Floats = NDArray[np.float64]


def two_level_bootstrap(
    differences: Floats,
    groups: NDArray[np.int64],
    rng: np.random.Generator,
    *,
    repeats: Floats | None = None,
    draws: int = 2000,
    coverage: float = 0.95,
) -> Interval:
    r"""Percentile interval of the mean difference of two recipes over patients *and* their runs.

    Patients that one network answers share the luck of its training, so that their differences are
    not independent and a bootstrap of patients alone is too narrow. Each draw takes *n* patients
    with replacement, and for each group of patients that shares networks new runs:

    * with :math:`S \ge 2` seeds, :math:`S - 1` of them with replacement, whose mean has the
      variance :math:`s^2 / S` without bias;
    * with one seed and ``repeats`` of the same recipe, the difference plus one of those repeats
      with a random sign. A repeat holds the luck of two runs, as the difference does.

    With one seed and no repeats the interval covers the sampling of patients only.

    Parameters
    ----------
    differences
        (n, S): one recipe minus the other, by patient and seed.
    groups
        (n,) number of the group (fold) of each patient.
    repeats
        (n, R): differences of runs of one recipe, by patient.

    References
    ----------
    Davison & Hinkley, Bootstrap Methods and their Application (1997), section 3.8; Rao & Wu, JASA
    83 (1988) 231-241, doi:10.1080/01621459.1988.10478591.
    """
    n, seeds = differences.shape
    value = float(differences.mean())
    if n < MIN_CASES:
        return Interval(value, n)
    taken = rng.integers(0, n, (draws, n))
    known = np.unique(groups, return_inverse=True)[1]
    count = int(known.max()) + 1
    fresh: Any
    if seeds > 1:
        runs = rng.integers(0, seeds, (draws, count, seeds - 1))[:, known]
        fresh = np.take_along_axis(differences[None], runs, axis=2).mean(axis=2)
    else:
        fresh = np.broadcast_to(differences[:, 0], (draws, n))
        if repeats is not None and repeats.shape[1]:
            which = rng.integers(0, repeats.shape[1], (draws, count))[:, known]
            sign = rng.choice(np.array([-1.0, 1.0]), (draws, count))[:, known]
            fresh = fresh + sign * np.take_along_axis(repeats[None], which[..., None], 2)[..., 0]
    drawn: Any = np.take_along_axis(fresh, taken, axis=1).mean(axis=1)
    tail = (1 - coverage) / 2 * 100
    low, high = np.percentile(drawn, [tail, 100 - tail])
    return Interval(value, n, float(low), float(high))


def run_noise(answers: Floats, groups: NDArray[np.int64]) -> tuple[float, int]:
    r"""Variance of a mean over patients by the luck of one training, and degrees of freedom.

    :math:`\sum_f (n_f / n)^2 s_f^2`, where :math:`s_f^2` is the variance over the runs of one
    recipe of their mean over the :math:`n_f` patients of group *f*, pooled over the groups. 0 and 0
    for a single run.

    Parameters
    ----------
    answers
        (n, K): score of each patient by *K* runs of the same recipe.
    """
    n, runs = answers.shape
    if runs < 2 or not n:
        return 0.0, 0
    known, sizes = np.unique(groups, return_counts=True)
    spread = [answers[groups == group].mean(axis=0).var(ddof=1) for group in known]
    return float(np.mean(spread) * ((sizes / n) ** 2).sum()), len(known) * (runs - 1)
