"""The processor and GPU of this machine, found without importing torch, which takes seconds.

The record of the machine is kept beside a unit in the result cache, never in an output or a key.
"""

from __future__ import annotations

import functools
import platform
import sys
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

CPUINFO = Path("/proc/cpuinfo")

FEATURES = frozenset(
    {"avx", "avx2", "fma", "avx512f", "avx512bw", "avx512vl", "avx512_bf16", "avx512_fp16"}
    | {"avx512_vnni", "avx_vnni", "amx_tile", "amx_bf16", "amx_int8"}
    | {"asimd", "bf16", "sve", "svebf16", "i8mm"}
)
"""CPU features by which BLAS, oneDNN and torch choose kernels. Other features round differently,
most visibly with bfloat16."""

BFLOAT16 = ("avx512_bf16", "amx_bf16", "bf16")
"""Those with which a processor computes in bfloat16 (x86, x86, ARM)."""

EMULATED = "about 15 times as long as float32"
"""Cost of bfloat16 on a processor without it (measured with AVX2, torch 2.x)."""


@functools.cache
def cpu_features(cpuinfo: Path = CPUINFO) -> tuple[str, ...]:
    """Those of :data:`FEATURES` that this CPU has, sorted; empty where the system has no list."""
    try:
        lines = cpuinfo.read_text().splitlines()
    except OSError:
        return ()
    named = (line.partition(":")[2].split() for line in lines if line[:5] in {"flags", "Featu"})
    return tuple(sorted(FEATURES & set(next(named, []))))


def bfloat16_features(cpuinfo: Path = CPUINFO) -> tuple[str, ...]:
    """Those of :data:`BFLOAT16` that this CPU has; empty where the system has no list."""
    present = cpu_features(cpuinfo)
    return tuple(name for name in BFLOAT16 if name in present)


def machine_record(distributions: Iterable[str]) -> dict[str, Any]:
    """Processor, GPU and full package versions (``2.13.0+cpu``) that computed a unit."""
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
