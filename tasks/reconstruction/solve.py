"""Run a method: stopping rule, history, progress, checkpoints."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from synthct.data.errors import DataError
from synthct.tasks.reconstruction.base import Memory, Method, Problem

CHECKPOINT = "checkpoint.safetensors"

CHECKPOINT_EVERY_S = 30.0
"""Seconds between two checkpoints."""


@dataclass(frozen=True)
class Iteration:
    """One row of the history.

    Parameters
    ----------
    number
        From 0, the first image.
    objective, data_term, prior_term
        F and its two parts.
    change_hu
        Root mean square change of the image [HU]; 0 for the first image.
    """

    number: int
    objective: float
    data_term: float
    prior_term: float
    change_hu: float


@dataclass(frozen=True, eq=False)
class Solution:
    """The image (Z, Y, X), relative to water, and its history."""

    image: Tensor
    history: tuple[Iteration, ...]
    converged: bool


def solve(
    problem: Problem,
    method: Method,
    first: Tensor,
    *,
    iterations: int,
    tolerance_hu: float = 0.0,
    progress: Callable[[Iteration, float], None] | None = None,
    folder: Path | None = None,
) -> Solution:
    """Minimise the objective of ``problem`` from a first image.

    Parameters
    ----------
    problem, method
        Objective and method.
    first
        First image (Z, Y, X), relative to water.
    iterations
        Maximum number of iterations.
    tolerance_hu
        Stop when an iteration changes the image by less (root mean square) [HU]; 0: never.
    progress
        Called after each iteration with its row and the seconds that are left at most.
    folder
        Folder of the checkpoint; the caller ensures that it belongs to the same problem, method and
        first image. None: no checkpoint.

    Raises
    ------
    DataError
        ``diverged``: the image is no longer finite.
    """
    history, memory = _resumed(folder) or ([_row(problem, 0, first, first)], None)
    memory = memory if memory is not None else method.begin(problem, first)
    started, saved, done_before = time.monotonic(), time.monotonic(), history[-1].number
    converged = False
    for number in range(done_before + 1, iterations + 1):
        before = memory["image"]
        method.advance(problem, memory)
        row = _row(problem, number, memory["image"], before)
        if row.objective != row.objective or row.objective == float("inf"):
            raise DataError(
                f"the image is not finite after iteration {number}",
                rule="the objective falls",
                remedy="lower the strength of the prior or the method's step",
                code="diverged",
            )
        history.append(row)
        now = time.monotonic()
        if progress is not None:
            each = (now - started) / (number - done_before)
            progress(row, each * (iterations - number))
        converged = row.change_hu < tolerance_hu
        if folder is not None and (now - saved > CHECKPOINT_EVERY_S):
            _save(folder, memory, history)
            saved = now
        if converged:
            break
    return Solution(memory["image"], tuple(history), converged)


def _row(problem: Problem, number: int, image: Tensor, before: Tensor) -> Iteration:
    data, prior = problem.data_term(image), problem.prior_term(image)
    change = 1000 * float((image - before).square().mean().sqrt())
    return Iteration(number, data + prior, data, prior, change)


COLUMNS = ("number", "objective", "data_term", "prior_term", "change_hu")


def _save(folder: Path, memory: Memory, history: list[Iteration]) -> None:
    """Write the checkpoint atomically."""
    table = torch.tensor(
        [[getattr(row, name) for name in COLUMNS] for row in history], dtype=torch.float64
    )
    tensors = {name: value.contiguous().clone() for name, value in memory.items()}
    fresh = folder / f".{CHECKPOINT}"
    save_file({**tensors, "/history": table}, fresh)
    fresh.replace(folder / CHECKPOINT)


def _resumed(folder: Path | None) -> tuple[list[Iteration], Memory] | None:
    if folder is None or not (folder / CHECKPOINT).exists():
        return None
    memory = load_file(folder / CHECKPOINT)
    rows = memory.pop("/history").tolist()
    return [Iteration(int(row[0]), *row[1:]) for row in rows], memory


def rows_of(history: tuple[Iteration, ...]) -> Iterator[dict[str, float]]:
    """Rows of ``history.csv``."""
    for row in history:
        yield {name: getattr(row, name) for name in COLUMNS}
