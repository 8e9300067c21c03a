"""One unit on whatever machine this is: checked, run, published."""

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

FAULT = "error.json"
"""In a unit that was excluded: the fault of its data."""


@dataclass(frozen=True)
class Order:
    """A unit on its way to a worker: plain data only."""

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
    """Hash of the code of ``modules`` that the key stands for."""
    packages: Mapping[str, str]
    """Versions of what computes, as the key names them."""
    token: str
    """Mark in the result cache that a worker which shares it sees."""
    gpu: bool = False
    arrays: str = ""
    """Prefix that takes the voxels of its arrays; "": they stay in the unit."""


def execute(order: Order) -> dict[str, Any]:
    """Run one unit (on whatever machine this is) and publish it; a small receipt goes back."""
    started = time.monotonic()
    if order.units.has(order.key):  # finished, but its worker died before it could say so
        return {"seconds": 0.0, "reused": True, "excluded": False, "cpu": ""}
    _require_shared(order)
    require_code(order.modules, order.code)
    require_versions(order.packages)
    module, name = order.function.split(":")
    function = getattr(importlib.import_module(module), name)
    if order.arrays:
        os.environ[ARRAYS] = order.arrays  # a worker elsewhere reads from where we read
    scratch = default_root() / "scratch" / order.key
    extra: dict[str, Any] = {}
    if "scratch" in inspect.signature(function).parameters:
        scratch.mkdir(parents=True, exist_ok=True)
        extra["scratch"] = scratch
    inputs = {name: Path(path) for name, path in order.inputs.items()}
    excluded = False
    with temporary_folder("unit") as temporary:
        out = temporary / "out"
        out.mkdir()
        with limit_threads(order.threads):
            apply_limits(order.threads)
            try:
                function(out=out, **inputs, **order.arguments, **extra)
            except DataError as fault:
                excluded = True
                shutil.rmtree(out)
                out.mkdir()
                write_whole(out / FAULT, canonical_json(fault.as_json()))
        if order.arrays:
            move_arrays(out, order.arrays)
        order.units.publish(order.key, out, canonical_json(machine_record(order.packages)))
    if not excluded:  # what an excluded unit left behind (a checkpoint) helps to find out why
        shutil.rmtree(scratch, ignore_errors=True)
    return {
        "seconds": round(time.monotonic() - started, 2),
        "reused": False,
        "excluded": excluded,
        "cpu": " ".join(cpu_features()),
    }


def _require_shared(order: Order) -> None:
    """Before work: what this worker publishes is found by who asked for it.

    Raises
    ------
    MachineError
        ``other-units``; nothing was run.
    """
    if not order.units.sees(order.token):
        raise MachineError(
            "all workers share the result cache of the run",
            problem="this worker sees another folder, or none, where the run has its result cache",
            where=f"{platform.node()}: {order.units.place()}",
            remedy=f"mount it there, or set {UNITS} to an s3:// prefix, for the run and the "
            "workers alike",
            code="other-units",
        )
