"""Memory of a prediction: estimated before it starts, and limited while it runs."""

from __future__ import annotations

import contextlib
import math
import os
import resource
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from synthct.data.errors import MachineError
from synthct.data.volume import Grid
from synthct.tasks.models.description import ModelDescription

GB = 10**9

_CGROUP = Path("/sys/fs/cgroup")

CHECK_BYTES = 27
"""Peak per voxel of the scan during checks and body segmentation [bytes]; measured, 2 to 4 of them
for the scan."""

KEPT_BYTES = 8
"""Per voxel of the scan afterwards [bytes]: body mask, result and uncertainty map."""

INTERVAL_BYTES = 5
"""Per voxel of the scan with an interval [bytes]: its two ends and the untrusted mask."""

WORKING_BYTES = 12
"""Per voxel of the working grid [bytes]: source, mask, voxels to predict, HU and spread."""

POOL_BYTES = 6
"""Per voxel of the working grid and network if the surest networks are chosen [bytes]: the HU and
spread of each are kept until all have run."""

SLAB_BYTES = 64 << 20
"""Memory of one resampling step [bytes]; it determines how many slices are resampled at once."""

ROOM_BYTES = 150 << 20
"""Memory of the networks' windows and of libraries that are not loaded yet [bytes]."""

GRAPH_RATIO = 2.6
"""Ratio of a loaded network's memory to the size of its file: weights and their packed copies."""

MAX_BATCH = 8
"""Maximum number of windows per batch (one per core if there are more): more only take memory."""


def slab_of(grid: Grid) -> int:
    """Number of slices (Z) of the grid that are resampled at once, at 16 bytes per voxel."""
    _, y, x = grid.shape
    return max(1, SLAB_BYTES // (16 * y * x))


def needed_bytes(
    scan: Grid,
    model: ModelDescription,
    graphs_bytes: int = 0,
    *,
    interval: bool = False,
    pool: int = 0,
) -> int:
    """Estimated peak memory in addition to what the process uses now [bytes].

    Parameters
    ----------
    graphs_bytes
        Total size of all ONNX files [bytes].
    interval
        Whether an interval is written.
    pool
        Number of networks among which the surest are chosen; 0: all answer.
    """
    voxels = math.prod(scan.shape)
    finer = np.prod(np.asarray(scan.spacing_mm) / np.asarray(model.spacing_mm))
    working = int(voxels * float(finer)) * (WORKING_BYTES + POOL_BYTES * pool)
    kept = KEPT_BYTES + (INTERVAL_BYTES if interval else 0)
    networks = int(graphs_bytes * GRAPH_RATIO) + ROOM_BYTES
    return max(voxels * CHECK_BYTES, voxels * kept + working + networks) + SLAB_BYTES


def require_room(
    scan: Grid,
    model: ModelDescription,
    max_ram_gb: float | None,
    graphs_bytes: int = 0,
    *,
    interval: bool = False,
    pool: int = 0,
) -> int:
    """The memory limit [bytes]; raises before any computation if the scan will not fit.

    The other parameters are those of :func:`needed_bytes`.
    """
    free = available_bytes() + resident_bytes()
    cap = free if max_ram_gb is None else min(free, int(max_ram_gb * GB))
    needed = resident_bytes() + needed_bytes(
        scan, model, graphs_bytes, interval=interval, pool=pool
    )
    if needed > cap:
        asked = "--max-ram" if max_ram_gb is not None and cap < free else "this machine's memory"
        raise MachineError(
            f"too little memory: about {needed / GB:.1f} GB are needed, {cap / GB:.1f} "
            f"GB allowed ({asked})",
            where=f"scan of {' x '.join(str(size) for size in reversed(scan.shape))} voxels",
            remedy="allow more, or cut the scan into parts along its axis",
            code="memory-cap",
        )
    return cap


def choose_batch(
    run: Callable[[NDArray[np.float32]], NDArray[np.float32]],
    window: tuple[int, ...],
    cap_bytes: int,
    held_bytes: int,
) -> int:
    """Number of windows per batch that fit into memory, measured with one window: 1 to 8.

    Parameters
    ----------
    window
        Shape (C, Y, X) or (1, Z, Y, X) of one window.
    held_bytes
        Memory that will be allocated later for other purposes [bytes].
    """
    before = resident_bytes()
    run(np.zeros((1, *window), np.float32))
    one = max(resident_bytes() - before, 4 * math.prod(window))
    room = cap_bytes - resident_bytes() - held_bytes
    return int(np.clip(room // one, 1, max(MAX_BATCH, len(os.sched_getaffinity(0)))))


@contextlib.contextmanager
def held(max_ram_gb: float | None) -> Iterator[None]:
    """Limit the process's memory within the block; an allocation beyond it raises an error."""
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    data = _status("VmData")
    if max_ram_gb is not None and data:
        growth = max(0, int(max_ram_gb * GB) - resident_bytes())
        resource.setrlimit(resource.RLIMIT_DATA, (data + growth, hard))
    try:
        yield
    except MemoryError as error:
        raise _too_little(max_ram_gb) from error
    except RuntimeError as error:
        if "alloc" in str(error).lower():  # messages of ITK, ONNX Runtime and the C++ library
            raise _too_little(max_ram_gb) from error
        raise
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def _too_little(max_ram_gb: float | None) -> MachineError:
    allowed = "the machine's" if max_ram_gb is None else f"{max_ram_gb:g} GB"
    return MachineError(
        f"too little memory: {allowed} are allowed, and more is needed",
        remedy="allow more (--max-ram), or cut the scan into parts along its axis",
        code="memory-cap",
    )


def resident_bytes() -> int:
    """Resident memory of this process [bytes]; 0 where the system does not report it."""
    return _status("VmRSS")


def _status(name: str) -> int:
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) * 1024
    return 0


def available_bytes() -> int:
    """Available memory of the machine, or of the container's limit if that is less [bytes]."""
    free = [_meminfo()]
    for limit, used in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        with contextlib.suppress(OSError, ValueError):  # "max": no limit
            free.append(int((_CGROUP / limit).read_text()) - int((_CGROUP / used).read_text()))
    return max(0, min(free))


def _meminfo() -> int:
    with contextlib.suppress(OSError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return 1 << 62
