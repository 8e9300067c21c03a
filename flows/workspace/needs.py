"""Memory and disk that a run needs, before it starts."""

from __future__ import annotations

import math
import resource
import shutil
from pathlib import Path

from synthct.flows.workspace.proposal import Fingerprint, Triple

BYTES_A_VOXEL = 3 * (8 + 21 + 4)
"""Disk per voxel of a case at most: ingestion (CT, source, two outlines), registration (source, two
CTs, mask, displacement) and evaluation (synthetic CT twice), uncompressed, in the outputs, the
result cache and DVC's cache. Networks and tables come on top."""

_GB = 1e9


def memory_gb(at_once: int) -> float:
    """Memory of ``at_once`` processes that have each done what this one has done at most [GB].

    To be called after training steps were measured: a worker holds the same libraries and the same
    tensors. The volumes that it reads come on top.
    """
    return at_once * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / _GB


def disk_gb(found: Fingerprint, grid_mm: Triple) -> float:
    """Disk that the volumes of the cases take at most [GB]."""
    voxels = math.prod(extent / step for extent, step in zip(found.extent_mm, grid_mm, strict=True))
    return sum(found.pairs.values()) * voxels * BYTES_A_VOXEL / _GB


def sentence(found: Fingerprint, grid_mm: Triple, at_once: int, root: Path) -> str:
    """What a run of these scans needs, and what there is."""
    free = shutil.disk_usage(root).free / _GB
    return (
        f"it needs {memory_gb(at_once):.1f} GB of memory or more, and at most "
        f"{max(disk_gb(found, grid_mm), 0.1):.1f} GB of disk for volumes ({free:.0f} GB are free)"
    )
