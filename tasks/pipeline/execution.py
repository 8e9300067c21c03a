"""Runs one unit on this machine and publishes its result."""

from __future__ import annotations

import importlib
import inspect
import os
import platform
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from synthct.data.environment import ARRAYS, UNITS
from synthct.data.errors import DataError, MachineError
from synthct.data.files import canonical_json, write_whole
from synthct.data.layout import default_root
from synthct.data.store.offload import move_arrays
from synthct.data.store.result_cache import ResultCache
from synthct.data.temporary import temporary_folder
from synthct.tasks.pipeline.code import require_code
from synthct.tasks.pipeline.machine import cpu_features, machine_record
from synthct.tasks.pipeline.packages import require_versions
from synthct.tasks.pipeline.threads import apply_limits, limit_threads

ERROR = "error.json"
"""In an excluded unit: the error of its data as JSON."""


@dataclass(frozen=True)
class UnitTask:
    """A unit of work as sent to a worker: plain data only.

    Parameters
    ----------
    unit, stage
        Name of the unit, and of its stage.
    key
        Key of the result in the cache.
    function
        ``module:function`` that computes it.
    inputs
        Absolute path by parameter name.
    arguments
        Plain JSON values by parameter name.
    threads
        Threads of torch, ITK and BLAS.
    units
        The result cache.
    modules
        Modules whose code is part of the key: that of the function and those of its plug-ins.
    code
        Hash of the code of ``modules`` that is part of the key.
    packages
        Versions of the computing packages that are part of the key.
    token
        Name of a mark in the result cache, by which a worker checks that it shares the cache.
    gpu
        Whether the unit occupies a GPU.
    arrays
        Prefix of the object storage for the voxels of its arrays; "": they stay in the unit.
    """

    unit: str
    stage: str
    key: str
    function: str
    inputs: Mapping[str, str]
    arguments: Mapping[str, Any]
    threads: int
    units: ResultCache
    modules: tuple[str, ...]
    code: str
    packages: Mapping[str, str]
    token: str
    gpu: bool = False
    arrays: str = ""


def execute(task: UnitTask) -> dict[str, Any]:
    """Run one unit and publish its result; return a small receipt.

    A :class:`DataError` of the unit is a result: the unit is published as excluded.

    Raises
    ------
    MachineError
        The worker has another result cache, other code or other package versions than the run.
    """
    started = time.monotonic()
    if task.units.has(task.key):  # finished, but its worker died before it could report it
        return {"seconds": 0.0, "import_s": 0.0, "reused": True, "excluded": False, "cpu": ""}
    _require_shared(task)
    require_code(task.modules, task.code)
    require_versions(task.packages)
    module, name = task.function.split(":")
    function = getattr(importlib.import_module(module), name)
    imported_s = time.monotonic() - started
    if task.arrays:
        os.environ[ARRAYS] = task.arrays  # a remote worker reads from where this run reads
    scratch = default_root() / "scratch" / task.key
    extra: dict[str, Any] = {}
    if "scratch" in inspect.signature(function).parameters:
        scratch.mkdir(parents=True, exist_ok=True)
        extra["scratch"] = scratch
    inputs = {name: Path(path) for name, path in task.inputs.items()}
    excluded = False
    with temporary_folder("unit") as temporary:
        out = temporary / "out"
        out.mkdir()
        with limit_threads(task.threads):
            apply_limits(task.threads)
            try:
                function(out=out, **inputs, **task.arguments, **extra)
            except DataError as error:
                excluded = True
                shutil.rmtree(out)
                out.mkdir()
                write_whole(out / ERROR, canonical_json(error.as_json()))
        if task.arrays:
            move_arrays(out, task.arrays)
        task.units.publish(task.key, out, canonical_json(machine_record(task.packages)))
    if not excluded:  # files of an excluded unit (a checkpoint) help to find the reason
        shutil.rmtree(scratch, ignore_errors=True)
    return {
        "seconds": round(time.monotonic() - started, 2),
        "import_s": round(imported_s, 2),
        "reused": False,
        "excluded": excluded,
        "cpu": " ".join(cpu_features()),
    }


def _require_shared(task: UnitTask) -> None:
    """Require, before work, that this worker publishes to the result cache of the run."""
    if not task.units.sees(task.token):
        raise MachineError(
            "this worker sees another folder, or none, where the run has its result cache",
            rule="all workers share the result cache of the run",
            where=f"{platform.node()}: {task.units.place()}",
            remedy=f"mount it there, or set {UNITS} to an s3:// prefix for the run and the workers",
            code="other-units",
        )
