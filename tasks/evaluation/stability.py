"""Stability of scores: how far they depend on the outline of the body and on the registration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, binary_erosion

from synthct.data.tables import six_digits
from synthct.tasks.evaluation.metrics import METRICS
from synthct.tasks.evaluation.pair import Mask, masked_pair
from synthct.tasks.evaluation.profiles import profile_called

UNCHANGED = "as scored"

STABLE = 0.75
"""ICC below which a score depends on chance as much as on the patient ("good" begins there: Koo &
Li, Journal of Chiropractic Medicine 15 (2016) 155-163)."""

MIN_CASES = 5
"""Cases below which agreement cannot be judged."""


def perturbed(reference: NDArray[Any], inside: Mask) -> dict[str, tuple[NDArray[Any], Mask]]:
    """Reference and mask of each perturbation, by name.

    The mask one voxel smaller and larger in the plane, and the reference one voxel further along x,
    y and z: what another outline and another registration of the same patient may give. Voxels that
    a shift brings in repeat the edge.
    """
    plane = np.ones((1, 3, 3), bool)
    smaller = binary_erosion(inside, plane)
    found = {
        UNCHANGED: (reference, inside),
        "smaller mask": (reference, smaller if smaller.any() else inside),
        "larger mask": (reference, binary_dilation(inside, plane)),
    }
    for axis, name in enumerate(("z", "y", "x")):
        if reference.shape[axis] > 1:
            at = np.clip(np.arange(reference.shape[axis]) - 1, 0, None)
            found[f"reference one voxel along {name}"] = (np.take(reference, at, axis), inside)
    return found


def scores_under(
    reference: NDArray[Any],
    prediction: NDArray[Any],
    inside: Mask,
    spacing_mm: tuple[float, float, float],
    plan: Mapping[str, Any],
) -> dict[str, dict[str, float | None]]:
    """Every image metric of one prediction under each perturbation: perturbation, metric, value."""
    profile = profile_called(plan["profile"])
    found: dict[str, dict[str, float | None]] = {}
    for name, (moved, mask) in perturbed(reference, inside).items():
        pair = masked_pair(moved, prediction, mask, profile=profile, spacing_mm=spacing_mm)
        values: dict[str, float | None] = {}
        for metric in plan["metrics"]:
            measured = METRICS.build(metric, plan["metric_options"].get(metric, {}))(pair)
            values |= measured.values
        found[name] = {k: None if v is None else six_digits(v) for k, v in values.items()}
    return found


def icc_2_1(table: NDArray[np.float64]) -> float | None:
    r"""Intraclass correlation for absolute agreement of single measurements, ICC(2,1).

    .. math:: \frac{MS_R - MS_E}{MS_R + (k - 1) MS_E + k (MS_C - MS_E) / n}

    from the mean squares of a two-way analysis of variance: between the *n* rows (cases), between
    the *k* columns (perturbations), and the rest. 1: the columns are equal. None where the table
    has fewer than two rows or columns, or does not vary.

    References
    ----------
    Shrout & Fleiss, Psychological Bulletin 86 (1979) 420-428.
    """
    n, k = table.shape
    if n < 2 or k < 2:
        return None
    whole, rows, columns = table.mean(), table.mean(axis=1), table.mean(axis=0)
    rest = table - rows[:, None] - columns[None, :] + whole
    between = k * float(((rows - whole) ** 2).sum()) / (n - 1)
    across = n * float(((columns - whole) ** 2).sum()) / (k - 1)
    error = float((rest**2).sum()) / ((n - 1) * (k - 1))
    total = between + (k - 1) * error + k * (across - error) / n
    return None if total <= 0 else (between - error) / total


def stability(cases: Sequence[Mapping[str, Mapping[str, float | None]]]) -> dict[str, Any]:
    """By metric: ICC over the cases, with all perturbations, of the masks and of the reference.

    Parameters
    ----------
    cases
        :func:`scores_under` of each case; empty ones are left out.
    """
    known = [case for case in cases if case]
    if len(known) < MIN_CASES:
        return {}
    names = [name for name in known[0] if all(name in case for case in known)]
    parts = {
        "all": names,
        "masks": [name for name in names if "reference" not in name],
        "registration": [name for name in names if "mask" not in name],
    }
    found: dict[str, Any] = {}
    for metric in known[0][UNCHANGED]:
        values = {
            part: np.array([[case[name].get(metric) for name in chosen] for case in known], float)
            for part, chosen in parts.items()
        }
        if any(not np.isfinite(table).all() for table in values.values()):
            continue
        icc = {part: icc_2_1(table) for part, table in values.items()}
        rounded = {
            part: None if value is None else six_digits(value) for part, value in icc.items()
        }
        whole = icc["all"]
        found[metric] = {
            "n": len(known),
            "icc": rounded,
            "stable": None if whole is None else bool(whole >= STABLE),
        }
    return found
