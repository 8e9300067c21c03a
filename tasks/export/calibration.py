"""Relation of the uncertainty map to the error, on windows of cases unseen by the network."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from synthct.tasks.export.windows import CaseWindows
from synthct.tasks.models.description import ModelDescription
from synthct.tasks.models.normalise import unscale_target
from synthct.tasks.models.sliding import Runner, flips_of


@dataclass(frozen=True, eq=False)
class Spread:
    """Spread over flips and absolute error, voxel by voxel inside the body [HU]."""

    sd_hu: NDArray[np.float32]
    error_hu: NDArray[np.float32]


def spread_of(network: Runner, windows: CaseWindows, model: ModelDescription) -> Spread | None:
    """Spread of one network over the flips of its training; None if training used no flips.

    The spread over folds cannot be measured: only one fold has not seen a case.
    """
    flips = flips_of(model, tta=True)
    if len(flips) < 2:
        return None
    votes = []
    for flip in flips:
        flipped = np.ascontiguousarray(np.flip(windows.inputs, flip))
        votes.append(unscale_target(np.flip(network(flipped)[:, 0], flip), model.target_scaling))
    stack = np.stack(votes)
    error = np.abs(stack.mean(axis=0) - windows.ct_hu)
    return Spread(stack.std(axis=0)[windows.inside], error[windows.inside])


def calibration(spreads: Sequence[Spread]) -> dict[str, Any]:
    """Entry ``uncertainty`` of the card: the error as a function of the spread.

    ``error_over_sd`` is the ratio of mean absolute error and mean spread; ``spearman`` the rank
    correlation of spread and error; ``within_2_sd`` the share of the voxels whose error is at most
    twice the spread (0.95 for a calibrated Gaussian).
    """
    if not spreads:
        return {"measured": False, "why": "training used no flips, so there is no spread"}
    sd = np.concatenate([one.sd_hu for one in spreads])
    error = np.concatenate([one.error_hu for one in spreads])
    edges = np.quantile(sd, [0, 0.25, 0.5, 0.75, 1])
    quarters = []
    for low, high in itertools.pairwise(edges):
        part = (sd >= low) & (sd <= high)
        quarters.append({"sd_hu": _short(sd[part].mean()), "error_hu": _short(error[part].mean())})
    varied = sd.std() > 0 and error.std() > 0
    return {
        "measured": True,
        "of": "flips of one network, on windows of an unseen case; not the spread of the ensemble",
        "voxels": int(sd.size),
        "mean_sd_hu": _short(sd.mean()),
        "mean_error_hu": _short(error.mean()),
        "error_over_sd": _short(error.mean() / sd.mean()) if sd.mean() > 0 else None,
        "spearman": _short(float(spearmanr(sd, error)[0])) if varied else None,
        "within_2_sd": _short(float((error <= 2 * sd).mean())),
        "by_quarter_of_sd": quarters,
    }


def _short(value: float) -> float:
    """Two digits: sufficient, and the same on every CPU."""
    return float(f"{float(value):.2g}")
