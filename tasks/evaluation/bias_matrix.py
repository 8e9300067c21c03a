"""Registration bias: models trained on one alignment, scored on another.

A score against an aligned CT rewards what the aligner did. The table of trained-on by scored-on
alignments says by how much: a model looks best under the alignment it learned from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.faults import DataFault
from tasks.evaluation.intervals import Interval, difference_of_means, paired_bootstrap

Row = Mapping[str, Any]
"""``trained_on``, ``scored_on`` (alignment names), ``case``, ``mae_hu``."""

TRUTH = "truth"
"""``scored_on`` of scores against the true deformation, which only digital patients have."""

COLUMNS = ("trained_on", "scored_on", "case", "mae_hu")


@dataclass(frozen=True)
class BiasMatrix:
    """Mean MAE [HU] of every trained-on (rows) by scored-on (columns) pair.

    Parameters
    ----------
    cells
        Trained-on to scored-on to mean MAE over the cases that all cells share.
    n
        How many cases that is.
    advantage
        Alignment to how much kinder [HU] it is, as the scorer, to the model trained on it than to
        the others: mean of (others - own), paired by case; above 0 is the bias of paper 49.
    floor
        Pair of alignments to how far their references lie apart [HU], where that is known.
    """

    trained_on: tuple[str, ...]
    scored_on: tuple[str, ...]
    cells: Mapping[str, Mapping[str, float]]
    n: int
    advantage: Mapping[str, Interval]
    floor: Mapping[str, float]

    def as_json(self) -> dict[str, Any]:
        """Plain JSON."""
        return {
            "trained_on": list(self.trained_on),
            "scored_on": list(self.scored_on),
            "cells": {row: dict(values) for row, values in self.cells.items()},
            "n": self.n,
            "advantage": {name: told.as_json() for name, told in self.advantage.items()},
            "floor": dict(self.floor),
        }

    @property
    def best_under(self) -> dict[str, str]:
        """Scored-on alignment to the trained-on one that looks best under it."""
        return {
            scorer: min(self.trained_on, key=lambda own: self.cells[own][scorer])
            for scorer in self.scored_on
        }


def bias_matrix(
    rows: Sequence[Row],
    rng: np.random.Generator,
    *,
    floor: Mapping[str, float] | None = None,
    draws: int = 2000,
) -> BiasMatrix:
    """The matrix over the cases that every cell has; missing cells are a fault.

    Parameters
    ----------
    rows
        One score each, ``{"trained_on", "scored_on", "case", "mae_hu"}``.
    floor
        What to print beside: ``"a | b"`` to the MAE [HU] between two references.
    """
    trained = tuple(sorted({str(row["trained_on"]) for row in rows}))
    scored = tuple(
        sorted({str(row["scored_on"]) for row in rows}, key=lambda name: (name == TRUTH, name))
    )
    found = _by_cell(rows)
    cases = _shared(found, trained, scored)
    values = {
        (own, scorer): np.array([found[own, scorer][case] for case in cases])
        for own in trained
        for scorer in scored
    }
    cells = {own: {s: float(values[own, s].mean()) for s in scored} for own in trained}
    advantage = {
        scorer: _advantage(values, scorer, trained, rng, draws)
        for scorer in scored
        if scorer in trained and len(trained) > 1
    }
    return BiasMatrix(trained, scored, cells, len(cases), advantage, dict(floor or {}))


def _by_cell(rows: Sequence[Row]) -> dict[tuple[str, str], dict[str, float]]:
    found: dict[tuple[str, str], dict[str, float]] = {}
    for row in rows:
        cell = found.setdefault((str(row["trained_on"]), str(row["scored_on"])), {})
        cell[str(row["case"])] = float(row["mae_hu"])
    return found


def _shared(
    found: Mapping[tuple[str, str], Mapping[str, float]],
    trained: Sequence[str],
    scored: Sequence[str],
) -> list[str]:
    wanted = [(own, scorer) for own in trained for scorer in scored]
    absent = [f"{own} scored on {scorer}" for own, scorer in wanted if (own, scorer) not in found]
    cases = set.intersection(*(set(found.get(cell, {})) for cell in wanted)) if wanted else set()
    if absent or not cases:
        raise DataFault(
            "every model is scored under every alignment on the same cases",
            where="bias matrix",
            got=f"nothing for {', '.join(absent)}" if absent else "no case that all cells share",
            remedy="run the missing grid points",
            code="bias-matrix-incomplete",
        )
    return sorted(cases)


def _advantage(
    values: Mapping[tuple[str, str], NDArray[np.float64]],
    scorer: str,
    trained: Sequence[str],
    rng: np.random.Generator,
    draws: int,
) -> Interval:
    others = np.mean([values[own, scorer] for own in trained if own != scorer], axis=0)
    return paired_bootstrap(others, values[scorer, scorer], difference_of_means, rng, draws=draws)
