"""What a unit was computed on: kept beside it in the result cache, never in an out or a key."""

from __future__ import annotations

import functools
import platform
import sys
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

FEATURES = frozenset(
    {"avx", "avx2", "fma", "avx512f", "avx512bw", "avx512vl", "avx512_bf16", "avx512_fp16"}
    | {"avx512_vnni", "avx_vnni", "amx_tile", "amx_bf16", "amx_int8"}
    | {"asimd", "bf16", "sve", "svebf16", "i8mm"}
)
"""CPU features by which BLAS, oneDNN and torch choose kernels: another set rounds otherwise, most
visibly with bfloat16."""


@functools.cache
def cpu_features() -> tuple[str, ...]:
    """Those of :data:`FEATURES` that this CPU has, sorted; empty where the system does not say."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ()
    named = (line.partition(":")[2].split() for line in lines if line[:5] in {"flags", "Featu"})
    return tuple(sorted(FEATURES & set(next(named, []))))


def machine_record(distributions: Iterable[str]) -> dict[str, Any]:
    """Processor, GPU and whole versions (``2.13.0+cpu``) behind a unit."""
    versions = {}
    for name in sorted(distributions):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return {
        "cpu": platform.machine(),
        "cpu_features": list(cpu_features()),
        "gpu": _gpu(),
        "packages": versions,
        "python": platform.python_version(),
    }


def _gpu() -> str:
    """Name of the GPU that this process has used; "" for none."""
    torch = sys.modules.get("torch")
    used = torch is not None and torch.cuda.is_initialized()
    return str(torch.cuda.get_device_name()) if torch is not None and used else ""
