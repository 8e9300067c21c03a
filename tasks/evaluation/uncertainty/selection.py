"""Selection inside a pool by uncertainty: each scan is answered by the members surest of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.faults import UsageFault
from data.volume import Volume
from tasks.evaluation.pair import Mask
from tasks.evaluation.uncertainty.recalibration import LEAST_SD_HU
from tasks.evaluation.uncertainty.retention import retention_curve, retention_gain
from tasks.prediction.description import ModelDescription
from tasks.prediction.sliding import Prediction, Runner, predict


@dataclass(frozen=True, eq=False)
class Selected:
    """The mean of the surest members.

    Parameters
    ----------
    hu, sd_hu
        (Z, Y, X) [HU]. The spread is the law of total variance: mean of the members' own
        variances, plus the variance of their answers.
    members
        Which members of the pool were kept, the surest first.
    uncertainty_hu
        Mean own spread inside the mask of every member of the pool [HU], in the pool's order.
    """

    hu: NDArray[np.int16]
    sd_hu: NDArray[np.float32]
    members: tuple[int, ...]
    uncertainty_hu: tuple[float, ...]


def predict_pool(
    runners: Sequence[Runner], source: Volume, mask: Volume, model: ModelDescription, *, keep: int
) -> Selected:
    """Ask every network of a pool, each with its own flips, and keep the ``keep`` surest.

    A member's own uncertainty is its spread over flips (in the paper: over sliding patches), so
    the model must have been trained with flips. For scans that no member has seen: folds on a
    new patient, or networks that differ in their seed.
    """
    votes = [predict(run, source, mask, model, tta=True, uncertainty=True) for run in runners]
    return select(votes, np.asarray(mask.array) > 0, keep=keep)


def select(pool: Sequence[Prediction], mask: Mask, *, keep: int) -> Selected:
    r"""Keep the members with the least :math:`u_m = \frac{1}{|M|}\sum_{v \in M} \sigma_m(v)`.

    Ties go to the member listed first. ``keep`` = 1 is the paper's choice; all is the plain mean.

    References
    ----------
    Yalcinkaya et al., Improved robustness ... using data adaptive uncertainty-guided space-time
    analysis (DAUGS), Journal of Cardiovascular Magnetic Resonance (2024).
    """
    if not 1 <= keep <= len(pool):
        raise UsageFault(
            f"between 1 and all {len(pool)} members of the pool are kept",
            where="keep",
            got=str(keep),
            code="pool-keep",
        )
    spreads = [_spread(member) for member in pool]
    doubt = [float(spread[mask].mean()) if mask.any() else 0.0 for spread in spreads]
    members = tuple(sorted(range(len(pool)), key=lambda one: (doubt[one], one))[:keep])
    answers = np.stack([pool[one].hu for one in members]).astype(np.float32)
    own = np.mean([spreads[one] ** 2 for one in members], axis=0)
    return Selected(
        np.rint(answers.mean(axis=0)).astype(np.int16),
        np.sqrt(own + answers.var(axis=0)).astype(np.float32),
        members,
        tuple(doubt),
    )


def selection_effect(
    pool: Sequence[Prediction], reference: NDArray[Any], mask: Mask
) -> dict[int, dict[str, Any]]:
    """What keeping 1, 2, ... all members does: ``{kept: {mae_hu, retention, retention_gain}}``.

    The retention curve is that of the kept members' own spread; all members is the plain
    ensemble that the selection has to beat.
    """
    told: dict[int, dict[str, Any]] = {}
    for keep in range(1, len(pool) + 1):
        found = select(pool, mask, keep=keep)
        error = found.hu[mask].astype(np.float64) - reference[mask]
        curve = retention_curve(error, np.maximum(found.sd_hu[mask], LEAST_SD_HU))
        told[keep] = {
            "members": list(found.members),
            "mae_hu": float(np.abs(error).mean()),
            "retention": curve,
            "retention_gain": retention_gain(curve),
        }
    return told


def _spread(member: Prediction) -> NDArray[np.float32]:
    if member.sd_hu is None:
        raise UsageFault(
            "every member of a pool tells its own uncertainty",
            where="pool",
            got="a prediction without spread",
            remedy="predict with flips and uncertainty",
            code="pool-no-spread",
        )
    return member.sd_hu
