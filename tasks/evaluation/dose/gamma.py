"""Gamma index of two doses, and the conventions of its computation."""

from __future__ import annotations

import warnings
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from synthct.data.errors import UsageError
from synthct.tasks.evaluation.pair import Floats, Mask

CRITERIA = ((2.0, 2.0), (3.0, 3.0))
"""(dose difference [% of the reference's maximum], distance [mm]) of the usual gamma tests."""

MAX_GAMMA = 1.1
"""Gamma above which the search stops: only whether a voxel passes matters."""

Search = Literal["interpolated", "discrete"]


@dataclass(frozen=True)
class Convention:
    """How gamma is computed; pass rates under different conventions are not comparable.

    On one pair of doses of the SlicerRT project 3 %/3 mm gives 81 % with a discrete search and
    90 % with an interpolated one.

    Parameters
    ----------
    search
        ``interpolated``: the evaluated dose is interpolated linearly between its voxels, in steps
        of the distance criterion over ``steps``. ``discrete``: at its voxels only.
    normalisation
        ``global``: the dose difference is a percentage of the reference's maximum over the whole
        dose, not only the mask; ``local``: of the reference in the judged voxel.
    cutoff_percent
        Voxels whose reference dose is below this percentage of its maximum are not judged [%].
    steps
        Steps of an interpolated search within one distance criterion.
    """

    search: Search = "interpolated"
    normalisation: Literal["global", "local"] = "global"
    cutoff_percent: float = 10.0
    steps: int = 10

    def __str__(self) -> str:
        return (
            f"{self.normalisation}, {self.search}, above {self.cutoff_percent:g} % of the maximum"
        )

    def as_json(self) -> dict[str, Any]:
        """Every setting, by name."""
        settings = asdict(self)
        if self.search == "discrete":
            del settings["steps"]
        return settings


@dataclass(frozen=True, eq=False)
class _Doses:
    """Two doses on one grid, and the voxels of the reference to judge."""

    reference_gy: Floats
    evaluated_gy: Floats
    spacing_mm: tuple[float, float, float]
    judged: Mask


@dataclass(frozen=True)
class _Criterion:
    """Accepted differences [%, mm], and the gamma above which the search stops."""

    dose_percent: float
    distance_mm: float
    most: float


def pass_percent(
    reference_gy: Floats,
    evaluated_gy: Floats,
    spacing_mm: tuple[float, float, float],
    mask: Mask | None = None,
    *,
    dose_percent: float,
    distance_mm: float,
    convention: Convention | None = None,
) -> float | None:
    r"""Percentage of the judged voxels with gamma at most 1; None if no voxel is judged.

    :math:`\gamma(x) = \min_r \sqrt{(\Delta D/\delta_D)^2 + (|r|/\delta_r)^2}` at the reference's
    voxels in the mask; the evaluated dose is searched inside and outside of it.

    Parameters
    ----------
    reference_gy, evaluated_gy
        Doses (Z, Y, X) [Gy] on one grid.
    mask
        Voxels to judge; None: all.
    dose_percent, distance_mm
        The criterion [%, mm].

    References
    ----------
    Low et al., Med Phys 25 (1998) 656-661, doi:10.1118/1.598248; Wendling et al., Med Phys 34
    (2007) 1647-1654, doi:10.1118/1.2721657.
    """
    how = convention or Convention()
    judged = _judged(reference_gy, mask, how)
    if not judged.any():
        return None
    found = gamma_of(
        reference_gy, evaluated_gy, spacing_mm, judged,
        dose_percent=dose_percent, distance_mm=distance_mm, convention=how,
    )  # fmt: skip
    return float(100 * np.mean(found <= 1))


def gamma_of(
    reference_gy: Floats,
    evaluated_gy: Floats,
    spacing_mm: tuple[float, float, float],
    judged: Mask,
    *,
    dose_percent: float,
    distance_mm: float,
    convention: Convention,
    most: float = MAX_GAMMA,
) -> NDArray[np.float64]:
    """Gamma (n,) of the judged voxels in array order, at most ``most``."""
    doses = _Doses(reference_gy, evaluated_gy, spacing_mm, judged)
    criterion = _Criterion(dose_percent, distance_mm, most)
    if convention.search == "discrete":
        return _discrete(doses, criterion, local=convention.normalisation == "local")
    found = _interpolated(doses, criterion, convention)
    return np.asarray(np.nan_to_num(found[judged], nan=most))


def _judged(reference_gy: Floats, mask: Mask | None, how: Convention) -> Mask:
    high = np.asarray(reference_gy >= how.cutoff_percent / 100 * reference_gy.max())
    high &= np.asarray(reference_gy > 0)
    return high if mask is None else high & mask


def _interpolated(doses: _Doses, criterion: _Criterion, how: Convention) -> Floats:
    try:
        import pymedphys
    except ImportError as error:
        raise UsageError(
            f"pymedphys cannot be imported ({error})",
            rule="an interpolated gamma is computed with pymedphys",
            remedy="pip install '.[dose]' on Python 3.11 or 3.12, which pymedphys supports",
            code="extra-missing",
        ) from error
    judged_gy = np.where(doses.judged, doses.reference_gy, 0.0)
    axes = tuple(
        np.arange(n) * step for n, step in zip(judged_gy.shape, doses.spacing_mm, strict=True)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        found = pymedphys.gamma(
            axes, judged_gy, axes, doses.evaluated_gy,
            criterion.dose_percent, criterion.distance_mm,
            # Voxels that are not judged are 0; half the cut-off excludes them despite rounding.
            lower_percent_dose_cutoff=how.cutoff_percent / 2, interp_fraction=how.steps,
            max_gamma=criterion.most, local_gamma=how.normalisation == "local",
            global_normalisation=float(doses.reference_gy.max()),
            skip_once_passed=criterion.most == MAX_GAMMA, quiet=True,
            interp_algo="scipy",
        )  # fmt: skip
    return np.asarray(found)


def _discrete(doses: _Doses, criterion: _Criterion, *, local: bool) -> NDArray[np.float64]:
    """Minimum over the voxels within ``most`` distance criteria, shift by shift."""
    most, distance_mm = criterion.most, criterion.distance_mm
    known = doses.reference_gy[doses.judged].astype(np.float64)
    highest_gy = float(doses.reference_gy.max())
    allowed = criterion.dose_percent / 100 * (known if local else highest_gy)
    reach = [int(most * distance_mm / step) for step in doses.spacing_mm]
    padded = np.pad(
        doses.evaluated_gy.astype(np.float64), [(n, n) for n in reach], constant_values=np.inf
    )
    index = np.argwhere(doses.judged) + np.asarray(reach)
    least = np.full(len(known), most**2)
    for shift in np.ndindex(*(2 * n + 1 for n in reach)):
        offset = np.asarray(shift) - reach
        far = float(np.sum((offset * np.asarray(doses.spacing_mm) / distance_mm) ** 2))
        if far < most**2:
            found = padded[tuple((index + offset).T)]
            np.minimum(least, ((found - known) / allowed) ** 2 + far, out=least)
    return np.asarray(np.sqrt(least))
