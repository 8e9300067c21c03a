"""What the engine allocates, counted before it does: which levels a cap on memory leaves."""

from __future__ import annotations

import math
from dataclasses import dataclass

from synthct.data.errors import DataError
from synthct.data.volume import Grid
from synthct.tasks.registration.contracts import Level
from synthct.tasks.registration.engine.convex import ConvexStart
from synthct.tasks.registration.engine.pyramid import FEWEST_VOXELS, levels, refined
from synthct.tasks.registration.engine.settings import Settings

FLOAT = 4
"""Bytes of a number."""

RESULT_VOXELS = 2**18
"""Of the slabs in which the result is made."""


@dataclass(frozen=True)
class Maps:
    """Numbers for each voxel of a level, measured (a test measures anew).

    Parameters
    ----------
    held
        Of each image, as long as the level lasts.
    kept
        Of each way, from a step's value to its derivative.
    passing
        Of one way at a time, while a step's value or derivative is computed.
    scratch
        Bytes that do not grow with the scan.
    """

    held: int
    kept: int
    passing: int
    scratch: int = 20_000_000


SIMILARITY = {
    "mind": Maps(12, 24, 12),
    "lncc": Maps(1, 8, 28),
    "mi": Maps(1, 8, 4, scratch=80_000_000),
    "ncc": Maps(1, 4, 4),
    "impact": Maps(32, 64, 32),
}
"""One that is not here counts as ``impact``."""

WAY = 26
"""Maps of each way whatever is compared: displacements, where they lead, their derivatives."""

DEFORMATION = {"bspline": 0, "rigid": 3, "affine": 3, "dense": 9, "velocity": 54}
"""Maps more of each way; one that is not here counts as ``velocity``."""

PENALTY, PENALTIES = 28, {"infimal_convolution": 116}
"""Maps of each way and voxel that a penalty sees; those that take more."""

INPUTS = 24
"""Bytes of each voxel of the scans while they are made ready: as many as all they then take."""


def affordable(
    grid: Grid, settings: Settings, *, both: bool, tissue: bool
) -> list[tuple[Level, int]]:
    """Levels that fit into ``settings.max_memory_gb``, with their iterations.

    ``both``: the way back is searched too; ``tissue``: stiffness is known.

    Raises
    ------
    DataError
        ``memory-cap`` where not even the coarsest level fits.
    """
    ladder = levels(grid.shape, grid.spacing_mm, settings.factors)
    needed = [needed_bytes(level, grid, settings, both=both, tissue=tissue) for level in ladder]
    cap = settings.max_memory_gb * 1e9
    kept = [
        (level, count)
        for level, count, bytes_ in zip(ladder, settings.iterations, needed, strict=True)
        if bytes_ <= cap
    ]
    if not kept:
        raise DataError(
            f"too little memory: {min(needed) / 1e9:.2g} GB needed for {_words(grid)}, "
            f"max_memory_gb allows {settings.max_memory_gb:g} GB",
            rule="at least the coarsest level of the torch engine must fit",
            remedy="raise max_memory_gb, or register on a coarser grid",
            code="memory-cap",
        )
    return kept


def needed_bytes(
    level: Level, grid: Grid, settings: Settings, *, both: bool, tissue: bool
) -> float:
    """What a registration up to this level takes: the most of what follows one another."""
    scan, here = math.prod(grid.shape), math.prod(level.shape)
    ways = 2 if both else 1
    # Two scans, two masks of a byte a voxel, and stiffness stay; one mask is a number at a time.
    stay = scan * (2 * FLOAT + 2 + (FLOAT if tissue else 0))
    maps = SIMILARITY.get(settings.similarity, SIMILARITY["impact"])
    phases = [
        scan * INPUTS,
        stay + scan * FLOAT,
        stay + _features(level, grid, settings, maps),
        stay + FLOAT * here * (2 * maps.held + ways * _way(level, settings, maps) + maps.passing),
        # The result, from the level's displacement by slabs.
        stay + FLOAT * (3 * (scan + ways * here) + 24 * min(scan, RESULT_VOXELS)),
    ]
    if settings.start == "convex":
        phases.append(stay + _convex(grid))
    return maps.scratch + max(phases)


def _way(level: Level, settings: Settings, maps: Maps) -> float:
    every = [min(settings.penalty_stride, max(1, n // FEWEST_VOXELS)) for n in level.shape]
    seen = sum(PENALTIES.get(penalty.name, PENALTY) for penalty in settings.penalties)
    shape = DEFORMATION.get(settings.deformation, DEFORMATION["velocity"])
    return WAY + maps.kept + shape + seen / math.prod(every)


def _features(level: Level, grid: Grid, settings: Settings, maps: Maps) -> int:
    """Those of the second image while they are made, those of the first there already."""
    fine = refined(level, grid.spacing_mm, settings.oversampling)
    passing = 8  # of one map at a time
    return FLOAT * (
        math.prod(fine.shape) * (maps.held + passing) + math.prod(level.shape) * maps.held
    )


def _convex(grid: Grid) -> int:
    """Costs of every step at every voxel of a bounded level, and their sums with a coupling."""
    search = ConvexStart()
    fine, level = search.levels(grid.shape, grid.spacing_mm)
    steps = (2 * search.reach + 1) ** 3
    held = SIMILARITY["mind"].held + 8
    return FLOAT * (3 * steps * math.prod(level.shape) + 2 * held * math.prod(fine.shape))


def _words(grid: Grid) -> str:
    return " x ".join(str(n) for n in reversed(grid.shape)) + " voxels"
