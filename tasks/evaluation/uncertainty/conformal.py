"""Split conformal intervals: half-widths from patients with a reference, for patients without.

Patients are exchangeable, voxels are not: every calibration patient has the same weight, whatever
its size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from synthct.tasks.evaluation.uncertainty.histogram import COUNT, EDGES, ErrorCounts

Guarantee = Literal["mean", "risk_control"]

MIN_PATIENTS = 5
"""A band that fewer calibration patients have uses the half-width of all bands together."""

ALL = "all"
"""Name of all bands together."""

HalfWidths = Mapping[str, float]
"""Band, or ``all``, to half-width [HU]; for scaled errors, to the factor of sigma."""


def calibrate(
    patients: Sequence[ErrorCounts], coverage: float, *, guarantee: Guarantee = "mean"
) -> dict[str, float]:
    r"""Smallest half-width per band at which the patients' mean coverage is at least nominal.

    ``mean``: :math:`\frac1n\sum_i c_i(q) \ge 1 - \alpha`, so the expected coverage of a new
    patient is nominal up to the sampling error of the cohort. ``risk_control`` adds the
    finite-sample term, :math:`\frac{n}{n+1}(1 - \bar c(q)) + \frac{1}{n+1} \le \alpha`: the
    expected coverage of a new exchangeable patient is then at least nominal, at the cost of wider
    intervals; with fewer than :math:`1/\alpha - 1` patients the half-width is infinite.

    References
    ----------
    Vovk, Gammerman & Shafer, Algorithmic Learning in a Random World (2005); Angelopoulos et al.,
    Conformal Risk Control, ICLR (2024).
    """
    if not patients:
        raise ValueError("calibration needs at least one patient")
    if not 0 < coverage < 1:
        raise ValueError(f"coverage must be between 0 and 1, got {coverage}")
    found = {ALL: _least([p.total() for p in patients], coverage, guarantee)}
    for name in sorted({name for patient in patients for name in patient.bands}):
        own = [patient.bands[name] for patient in patients if name in patient.bands]
        enough = len(own) >= MIN_PATIENTS
        found[name] = _least(own, coverage, guarantee) if enough else found[ALL]
    return found


def covered_share(patient: ErrorCounts, widths: HalfWidths) -> dict[str, float]:
    """Share of the patient's voxels whose error is within the half-width: by band, and ``all``."""
    shares: dict[str, float] = {}
    inside = voxels = 0.0
    for name, counts in patient.bands.items():
        within = float(counts[widths.get(name, widths[ALL]) * (1 + 1e-12) >= EDGES].sum())
        shares[name] = within / float(counts.sum())
        inside, voxels = inside + within, voxels + float(counts.sum())
    shares[ALL] = inside / voxels if voxels else float("nan")
    return shares


def calibrate_leaving_one_out(
    patients: Mapping[str, Sequence[ErrorCounts]], coverage: float, *, guarantee: Guarantee = "mean"
) -> dict[str, dict[str, float]]:
    """For each patient, what :func:`calibrate` finds from the cases of all others.

    The sum over the others is the sum over all less the patient's own, so the time grows with the
    number of patients and not with its square.
    """
    names = sorted({name for cases in patients.values() for case in cases for name in case.bands})
    found = {
        patient: {ALL: width}
        for patient, (width, _) in _left_out(patients, None, coverage, guarantee).items()
    }
    for name in names:
        for patient, (width, n) in _left_out(patients, name, coverage, guarantee).items():
            if n:
                found[patient][name] = width if n >= MIN_PATIENTS else found[patient][ALL]
    return found


def _left_out(
    patients: Mapping[str, Sequence[ErrorCounts]],
    band: str | None,
    coverage: float,
    guarantee: Guarantee,
) -> dict[str, tuple[float, int]]:
    """For each patient, half-width and number of the others' cases; ``band`` None: all bands."""
    whole, count = np.zeros(COUNT + 1), 0
    own: dict[str, tuple[NDArray[np.float64], int]] = {}
    for patient, cases in patients.items():
        shares = [
            _shares(case.total() if band is None else case.bands[band])
            for case in cases
            if band is None or band in case.bands
        ]
        own[patient] = np.sum(shares, axis=0) if shares else np.zeros(COUNT + 1), len(shares)
        whole, count = whole + own[patient][0], count + len(shares)
    return {
        patient: (
            _width((whole - mine) / (count - n), count - n, coverage, guarantee)
            if count > n
            else float("inf"),
            count - n,
        )
        for patient, (mine, n) in own.items()
    }


def _shares(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Share of the voxels up to each edge."""
    return np.asarray(np.cumsum(counts) / max(1, counts.sum()))


def _least(counts: Sequence[NDArray[np.int64]], coverage: float, guarantee: Guarantee) -> float:
    mean = np.array([_shares(one) for one in counts]).mean(axis=0)
    return _width(mean, len(counts), coverage, guarantee)


def _width(mean: NDArray[np.float64], n: int, coverage: float, guarantee: Guarantee) -> float:
    wanted = required_share(n, coverage, guarantee)
    # Rounding of a sum over thousands of patients stays below the tolerance.
    reached = np.flatnonzero(mean >= wanted - 1e-12)
    if wanted > 1 or not reached.size or reached[0] == COUNT:
        return float("inf")
    return float(EDGES[reached[0]])


def required_share(n: int, coverage: float, guarantee: Guarantee) -> float:
    """Mean coverage that ``n`` calibration patients must reach; above 1: impossible."""
    return coverage if guarantee == "mean" else 1 - ((n + 1) * (1 - coverage) - 1) / n
