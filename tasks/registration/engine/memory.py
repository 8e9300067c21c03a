"""Estimates the engine's memory in advance and selects the levels that fit a memory limit."""

from __future__ import annotations

import math
from dataclasses import dataclass

from synthct.data.errors import DataError
from synthct.data.volume import Grid
from synthct.tasks.registration.contracts import Level
from synthct.tasks.registration.engine.convex import ConvexStart
from synthct.tasks.registration.engine.pyramid import MIN_VOXELS, levels, refined
from synthct.tasks.registration.engine.settings import Settings

FLOAT = 4
"""Size of a single-precision number [bytes]."""

RESULT_VOXELS = 2**18
"""Size of the slabs in which the result is computed [voxels]."""


@dataclass(frozen=True)
class Maps:
    """Numbers stored per voxel of a level, as measured (a test repeats the measurement).

    Parameters
    ----------
    held
        Per image, for the duration of the level.
    kept
        Per direction, from the forward to the backward pass of an iteration.
    passing
        For one direction at a time, during the forward or backward pass.
    scratch
        Memory independent of the scan's size [bytes].
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
"""Memory of each similarity; one not listed counts as ``impact``."""

WAY = 26
"""Maps per direction for any similarity: displacements, displaced points, derivatives."""

DEFORMATION = {"bspline": 0, "rigid": 3, "affine": 3, "dense": 9, "velocity": 54}
"""Additional maps per direction and deformation; one not listed counts as ``velocity``."""

PENALTY, PENALTIES = 28, {"infimal_convolution": 116}
"""Maps per direction and voxel used by a penalty; penalties that need more."""

INPUTS = 24
"""Total memory while the scans are prepared [bytes per voxel]."""


def affordable(
    grid: Grid, settings: Settings, *, both: bool, tissue: bool
) -> list[tuple[Level, int]]:
    """Levels that fit into ``settings.max_memory_gb``, with their iterations.

    ``both``: the backward direction is optimised too; ``tissue``: stiffness is given.

    Raises
    ------
    DataError
        ``memory-cap`` if not even the coarsest level fits.
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
    """Memory of a registration up to this level: the maximum over its consecutive phases."""
    scan, here = math.prod(grid.shape), math.prod(level.shape)
    ways = 2 if both else 1
    # Two scans, two masks (1 byte per voxel) and stiffness persist; one mask is float at a time.
    stay = scan * (2 * FLOAT + 2 + (FLOAT if tissue else 0))
    maps = SIMILARITY.get(settings.similarity, SIMILARITY["impact"])
    phases = [
        scan * INPUTS,
        stay + scan * FLOAT,
        stay + _features(level, grid, settings, maps),
        stay + FLOAT * here * (2 * maps.held + ways * _way(level, settings, maps) + maps.passing),
        # The result, computed from the level's displacement in slabs.
        stay + FLOAT * (3 * (scan + ways * here) + 24 * min(scan, RESULT_VOXELS)),
    ]
    if settings.start == "convex":
        phases.append(stay + _convex(grid))
    return maps.scratch + max(phases)


def _way(level: Level, settings: Settings, maps: Maps) -> float:
    every = [min(settings.penalty_stride, max(1, n // MIN_VOXELS)) for n in level.shape]
    seen = sum(PENALTIES.get(penalty.name, PENALTY) for penalty in settings.penalties)
    shape = DEFORMATION.get(settings.deformation, DEFORMATION["velocity"])
    return WAY + maps.kept + shape + seen / math.prod(every)


def _features(level: Level, grid: Grid, settings: Settings, maps: Maps) -> int:
    """Memory while the second image's features are computed, the first's being stored."""
    fine = refined(level, grid.spacing_mm, settings.oversampling)
    passing = 8  # temporary, for one map at a time
    return FLOAT * (
        math.prod(fine.shape) * (maps.held + passing) + math.prod(level.shape) * maps.held
    )


def _convex(grid: Grid) -> int:
    """Memory of the discrete search: costs per displacement and voxel, plain and coupled."""
    search = ConvexStart()
    fine, level = search.levels(grid.shape, grid.spacing_mm)
    steps = (2 * search.reach + 1) ** 3
    held = SIMILARITY["mind"].held + 8
    return FLOAT * (3 * steps * math.prod(level.shape) + 2 * held * math.prod(fine.shape))


def _words(grid: Grid) -> str:
    return " x ".join(str(n) for n in reversed(grid.shape)) + " voxels"
