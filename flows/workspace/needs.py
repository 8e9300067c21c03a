"""Forecast of the memory and disk that a run needs."""

from __future__ import annotations

import math
import os
import resource
import shutil
from pathlib import Path

from synthct.flows.workspace.proposal import Fingerprint, Triple

BYTES_A_VOXEL = 3 * (8 + 21 + 4)
"""Disk per voxel of a case at most: ingestion (CT, source, two outlines), registration (source, two
CTs, mask, displacement) and evaluation (synthetic CT twice), uncompressed, in the outputs, the
result cache and DVC's cache. Networks and tables come on top."""

WORKING_BYTES_A_VOXEL = 150
"""Memory per voxel of a case that is registered or scored: about forty arrays of single floats.
The growth in docs/benchmarks/registration_scale.md is below it."""

SERVICES_GB = 0.8
"""Memory of the run itself: command, Prefect server, scheduler and DVC [GB]."""

_GB = 1e9


def memory_gb(at_once: int, voxels: float = 0.0) -> float:
    """Memory of ``at_once`` processes with the peak memory of this one [GB].

    To be called after training steps were measured: a worker holds the same libraries, and the same
    tensors or a case of ``voxels`` voxels.
    """
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return at_once * (own + voxels * WORKING_BYTES_A_VOXEL) / _GB


def voxels_of(found: Fingerprint, grid_mm: Triple) -> float:
    """Voxels of a case on the working grid."""
    return math.prod(extent / step for extent, step in zip(found.extent_mm, grid_mm, strict=True))


def disk_gb(found: Fingerprint, grid_mm: Triple) -> float:
    """Maximum disk space of the cases' volumes [GB]."""
    return sum(found.pairs.values()) * voxels_of(found, grid_mm) * BYTES_A_VOXEL / _GB


def needs_line(memory_gb: float, disk_gb: float, root: Path) -> str:
    """Required memory and disk [GB] in one line, with what this machine has."""
    free = shutil.disk_usage(root).free / _GB
    has = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / _GB
    line = (
        f"it needs about {memory_gb:.1f} GB of memory ({has:.0f} GB are installed), and at most "
        f"{max(disk_gb, 0.1):.1f} GB of disk for volumes ({free:.0f} GB are free)"
    )
    if memory_gb > has:
        line += "; too little memory: use --workers 1, or a coarser grid"
    if disk_gb > free:
        line += "; too little disk: free some, or keep data elsewhere"
    return line
