"""Selection of networks by uncertainty: each scan is predicted by the least uncertain networks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from synthct.data.errors import UsageError
from synthct.data.volume import Volume
from synthct.tasks.models.description import ModelDescription
from synthct.tasks.models.sliding import Prediction, Progress, Runner, flips_of, predict

Mask = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Selected:
    """Mean prediction of the least uncertain members.

    Parameters
    ----------
    hu, sd_hu
        (Z, Y, X) [HU]. The spread follows the law of total variance: mean of the members' variances
        plus the variance of their predictions.
    members
        Indices of the selected members, the least uncertain first.
    uncertainty_hu
        Mean spread of each member over its flips, inside the mask [HU], in the pool's order.
    """

    hu: NDArray[np.int16]
    sd_hu: NDArray[np.float32]
    members: tuple[int, ...]
    uncertainty_hu: tuple[float, ...]


def predict_pool(
    runners: Sequence[Runner],
    source: Volume,
    mask: Volume,
    model: ModelDescription,
    *,
    keep: int,
    overlap: float = 0.5,
    batch: int = 8,
    wanted: Volume | None = None,
    progress: Progress | None = None,
) -> Selected:
    """Predict with every network of a pool and its flips, and select the ``keep`` least uncertain.

    A member's own uncertainty is its spread over flips (in the paper: over sliding patches), so the
    model must have been trained with flips. For scans that no member has seen: folds on a new
    patient, or networks that differ in their seed. Every member's prediction is kept in memory,
    with six bytes per voxel and member. ``wanted`` are the voxels to predict (default: the mask);
    the spread is compared inside the mask.
    """
    check_pool(len(runners), model, keep=keep, tta=True)
    votes: list[Prediction] = []
    for run in runners:
        votes.append(
            predict(
                run, source, mask, model, tta=True, overlap=overlap, batch=batch,
                uncertainty=True, wanted=wanted, progress=_part(progress, len(votes), len(runners)),
            )
        )  # fmt: skip
    return select(votes, np.asarray(mask.array) > 0, keep=keep)


def check_pool(members: int, model: ModelDescription, *, keep: int, tta: bool) -> None:
    """Check, before any computation, that the pool can select ``keep`` members."""
    if not 1 <= keep <= members:
        raise UsageError(
            f"surest is {keep}",
            rule=f"between 1 and all {members} members of the pool are kept",
            where="surest",
            code="pool-keep",
        )
    if len(flips_of(model, tta=tta)) < 2:
        raise UsageError(
            "the model was trained without flips" if tta else "mirroring is switched off",
            rule="networks are chosen by their spread over mirrorings",
            where="surest",
            remedy="leave out the choice of the surest networks, or let the model mirror",
            code="pool-no-spread",
        )


def _part(progress: Progress | None, before: int, of: int) -> Progress | None:
    if progress is None:
        return None
    return lambda done, total: progress(before * total + done, of * total)


def select(pool: Sequence[Prediction], mask: Mask, *, keep: int) -> Selected:
    r"""Select the members with the least :math:`u_m = \frac{1}{|M|}\sum_{v \in M} \sigma_m(v)`.

    Ties go to the member listed first. The paper uses ``keep`` = 1; all members give the plain
    mean.

    References
    ----------
    Yalcinkaya et al., Improved robustness ... using data adaptive uncertainty-guided space-time
    analysis (DAUGS), Journal of Cardiovascular Magnetic Resonance (2024).
    """
    if not 1 <= keep <= len(pool):
        raise UsageError(
            f"surest is {keep}",
            rule=f"between 1 and all {len(pool)} members of the pool are kept",
            where="surest",
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


def _spread(member: Prediction) -> NDArray[np.float32]:
    if member.sd_hu is None:
        raise UsageError(
            "a prediction of the pool has no uncertainty",
            rule="every member of a pool has an uncertainty of its own",
            where="pool",
            remedy="predict with flips and uncertainty",
            code="pool-no-spread",
        )
    return member.sd_hu
