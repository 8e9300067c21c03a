"""State of this machine: disk, memory, GPUs, size of the result cache."""

from __future__ import annotations

import shutil
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

import psutil

_GPU_QUERY = "index,utilization.gpu,memory.used,memory.total"
_UNITS_EVERY_S = 60.0
_MIB = 2**20


@dataclass(frozen=True)
class Gpu:
    """One GPU: utilization as a fraction, and memory."""

    name: str
    busy: float
    used_bytes: int
    total_bytes: int


@dataclass
class Machine:
    """Reads the state on request; the entries of the result cache are counted once a minute."""

    root: Path
    units: Path
    _units: int = 0
    _counted_s: float = field(default=-_UNITS_EVERY_S)

    def free_bytes(self) -> int:
        """Free space on the disk of the checkout."""
        return shutil.disk_usage(self.root).free

    def memory_bytes(self) -> tuple[int, int]:
        """(available, total)."""
        memory = psutil.virtual_memory()
        return memory.available, memory.total

    def finished_units(self) -> int:
        """Entries of the result cache, if it is on this machine."""
        now_s = time.monotonic()
        if now_s - self._counted_s >= _UNITS_EVERY_S:
            self._counted_s = now_s
            self._units = sum(1 for _ in self.units.glob("??/*")) if self.units.is_dir() else 0
        return self._units

    def gpus(self) -> list[Gpu]:
        """The GPUs that the NVIDIA driver lists; empty without a driver."""
        tool = shutil.which("nvidia-smi")
        if tool is None:
            return []
        command = [tool, f"--query-gpu={_GPU_QUERY}", "--format=csv,noheader,nounits"]
        try:
            listed = subprocess.run(
                command, capture_output=True, text=True, check=False, timeout=5
            ).stdout
        except subprocess.TimeoutExpired:
            return []
        return [gpu for line in listed.splitlines() if (gpu := _gpu(line))]


def _gpu(line: str) -> Gpu | None:
    parts = [part.strip() for part in line.split(",")]
    try:
        name, busy, used, total = parts
        return Gpu(name, float(busy) / 100, int(used) * _MIB, int(total) * _MIB)
    except ValueError:
        return None  # "[N/A]" where the driver does not know
