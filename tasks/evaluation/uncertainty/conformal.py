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

LEAST_PATIENTS = 5
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
        enough = len(own) >= LEAST_PATIENTS
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


def _least(counts: Sequence[NDArray[np.int64]], coverage: float, guarantee: Guarantee) -> float:
    shares = np.array([np.cumsum(one) / max(1, one.sum()) for one in counts])
    wanted = wanted_share(len(counts), coverage, guarantee)
    reached = np.flatnonzero(shares.mean(axis=0) >= wanted - 1e-12)
    if wanted > 1 or not reached.size or reached[0] == COUNT:
        return float("inf")
    return float(EDGES[reached[0]])


def wanted_share(n: int, coverage: float, guarantee: Guarantee) -> float:
    """Mean coverage that ``n`` calibration patients must reach; above 1: impossible."""
    return coverage if guarantee == "mean" else 1 - ((n + 1) * (1 - coverage) - 1) / n
