"""``--cluster gpu``: one worker process per GPU, and CPU workers on the remaining cores."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from synthct.data.errors import MachineError
from synthct.flows.clusters.started import Cluster, enclosed, kept_whole


def devices() -> list[str]:
    """GPUs that this process may use: ``$CUDA_VISIBLE_DEVICES``, else all that the driver lists."""
    allowed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if allowed is not None:
        return [each.strip() for each in allowed.split(",") if each.strip() not in ("", "-1")]
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    listed = subprocess.run([tool, "-L"], capture_output=True, text=True, check=False).stdout
    lines = [line for line in listed.splitlines() if line.startswith("GPU ")]
    return [str(number) for number, _ in enumerate(lines)]


@contextlib.contextmanager
def open_gpu(workers: int | None, root: Path, variables: Mapping[str, str]) -> Iterator[Cluster]:
    """Start workers on this machine; each sees one GPU, or none.

    A GPU worker declares the Dask resource ``GPU``. A unit of work that needs a GPU requests this
    resource, so two never share one; units of other stages run on all workers. dask-cuda offers the
    same, but pins another version of Dask. Only holders of this run's certificates may use it.

    Raises
    ------
    MachineError
        ``no-gpu``.
    """
    from distributed import Scheduler, SpecCluster

    found = devices()
    if not found:
        raise MachineError(
            "--cluster gpu found no GPU in CUDA_VISIBLE_DEVICES or nvidia-smi",
            remedy="--cluster local runs on the CPU cores",
            code="no-gpu",
        )
    cores = len(os.sched_getaffinity(0))
    others = max(0, cores - len(found)) if workers is None else max(0, workers - len(found))
    with enclosed(root, variables) as private:
        cluster = SpecCluster(
            workers=worker_specs(found, others, private.secured),
            scheduler={
                "cls": Scheduler,
                "options": {**private.secured, "port": 0, "dashboard_address": private.dashboard},
            },
            security=private.secured["security"],
        )
        with kept_whole(cluster, certificates=private.folder, gpus=True) as opened:
            yield opened


def worker_specs(found: list[str], others: int, secured: Mapping[str, Any]) -> dict[str, Any]:
    """One nanny per GPU with ``CUDA_VISIBLE_DEVICES`` and the resource, then CPU-only nannies.

    ``secured``: host, protocol and certificates of all of them.
    """
    from distributed import Nanny

    options = {f"gpu-{device}": _options(device, {"GPU": 1.0}) for device in found} | {
        f"cpu-{number}": _options("", {}) for number in range(others)
    }
    return {name: {"cls": Nanny, "options": {**secured, **each}} for name, each in options.items()}


def _options(device: str, resources: dict[str, float]) -> dict[str, Any]:
    return {
        "nthreads": 1,
        "resources": resources,
        # Before the process starts: CUDA reads it once, at its first import.
        "env": {"CUDA_VISIBLE_DEVICES": device},
        "config": {"distributed.nanny.pre-spawn-environ.CUDA_VISIBLE_DEVICES": device},
        "memory_limit": "auto",
    }
