"""Two supplied dose distributions: gamma index and dose-volume figures."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synthct.data.errors import UsageError
from synthct.tasks.evaluation.pair import Floats, Mask

CRITERIA = ((2.0, 2.0), (3.0, 3.0))
"""(dose difference [% of the reference's maximum], distance [mm]) of the usual gamma tests."""

CUTOFF_PERCENT = 10.0
"""Voxels below this part of the reference's maximum are not judged."""

INTERPOLATION = 10
"""Search steps within one distance criterion."""


def gamma_pass_percent(
    reference_gy: Floats,
    evaluated_gy: Floats,
    spacing_mm: tuple[float, float, float],
    *,
    dose_percent: float,
    distance_mm: float,
    cutoff_percent: float = CUTOFF_PERCENT,
) -> float:
    r"""Share [%] of voxels with global gamma at most 1, by ``pymedphys.gamma``.

    :math:`\gamma = \min_r \sqrt{(\Delta D/\delta_D)^2 + (|r|/\delta_r)^2}`.

    References
    ----------
    Low et al., Med Phys 25 (1998) 656-661; Wendling et al., Med Phys 34 (2007) 1647-1654.
    """
    try:
        import pymedphys
    except ImportError as error:
        raise UsageError(
            "gamma needs pymedphys",
            got=str(error),
            remedy="pip install 'synthct[dose]'",
            code="extra-missing",
        ) from error
    axes = tuple(
        np.arange(n) * step for n, step in zip(reference_gy.shape, spacing_mm, strict=True)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        gamma = pymedphys.gamma(
            axes, reference_gy, axes, evaluated_gy, dose_percent, distance_mm,
            lower_percent_dose_cutoff=cutoff_percent, interp_fraction=INTERPOLATION, max_gamma=1.1,
            skip_once_passed=True, quiet=True, interp_algo="scipy",
        )  # fmt: skip
    judged = gamma[np.isfinite(gamma)]
    return float(100 * np.mean(judged <= 1)) if judged.size else 100.0


def dose_at_volume_gy(dose_gy: NDArray[Any], percent: float) -> float:
    """D_p: the least dose of the hottest p % of the voxels [Gy] (D98 near-minimum, D2 near-max)."""
    return float(np.percentile(dose_gy, 100 - percent))


def dvh_figures(dose_gy: Floats, structures: Mapping[str, Mask]) -> dict[str, dict[str, float]]:
    """``{structure: {d98_gy, d2_gy, mean_gy}}`` of every structure that has voxels."""
    return {
        name: {
            "d98_gy": dose_at_volume_gy(dose_gy[inside], 98),
            "d2_gy": dose_at_volume_gy(dose_gy[inside], 2),
            "mean_gy": float(dose_gy[inside].mean()),
        }
        for name, inside in structures.items()
        if inside.any()
    }


def conformity(dose_gy: Floats, target: Mask, prescription_gy: float) -> float | None:
    r"""Paddick's conformity :math:`TV_{PI}^2 / (TV \cdot PI)`; none where nothing is covered.

    References
    ----------
    Paddick, J Neurosurg 93 Suppl 3 (2000) 219-222.
    """
    covered = dose_gy >= prescription_gy
    both = int(np.count_nonzero(covered & target))
    if not both:
        return None
    return both**2 / (int(np.count_nonzero(target)) * int(np.count_nonzero(covered)))
