"""Choice of a regularizer's strength on validation patients only; test scores are not used."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any


@dataclass(frozen=True)
class Job:
    """One trial of the grid.

    Parameters
    ----------
    arm, pairs
        Names; ``arm`` may be the control.
    weight
        Strength of the arm's last regularizer; None if there is nothing to choose.
    fold, seed
        Number of the fold, and seed of initial weights and patches.
    """

    arm: str
    pairs: str
    weight: float | None
    fold: int
    seed: int

    @property
    def name(self) -> str:
        """Name of the unit and of its folder."""
        strength = "" if self.weight is None else f"_w{self.weight:g}"
        return f"{self.pairs}_{self.arm}{strength}_fold{self.fold}_seed{self.seed}"


@dataclass(frozen=True)
class Trial:
    """The result of a job."""

    job: Job
    validation_mae_hu: float
    scores: tuple[dict[str, Any], ...]


def chosen(trials: Sequence[Trial]) -> list[Trial]:
    """For each arm, pairs and fold the trials of the strength with the best validation MAE.

    The mean over seeds decides; of equal strengths the smaller is chosen.
    """
    cells: dict[tuple[str, str, int], dict[float | None, list[Trial]]] = {}
    for trial in trials:
        job = trial.job
        cell = cells.setdefault((job.arm, job.pairs, job.fold), {})
        cell.setdefault(job.weight, []).append(trial)
    kept: list[Trial] = []
    for cell in cells.values():
        best = min(cell, key=lambda w: (fmean(t.validation_mae_hu for t in cell[w]), w or 0.0))
        kept += cell[best]
    return kept
