"""What this machine's processor can do: asked without torch, which takes seconds to import."""

from __future__ import annotations

from pathlib import Path

FEATURES = ("avx512_bf16", "amx_bf16", "bf16")
"""What Linux calls bfloat16 arithmetic of a processor (x86, x86, ARM)."""

CPUINFO = Path("/proc/cpuinfo")

EMULATED = "about 15 times as long as float32"
"""What bfloat16 costs on a processor that has none (measured with AVX2, torch 2.x)."""


def processor_features(cpuinfo: Path = CPUINFO) -> tuple[str, ...]:
    """Which of ``FEATURES`` this processor has; none where the system does not say."""
    try:
        lines = cpuinfo.read_text().splitlines()
    except OSError:
        return ()
    flags = {
        word
        for line in lines
        if line.split(":")[0].strip() in ("flags", "Features")
        for word in line.partition(":")[2].split()
    }
    return tuple(name for name in FEATURES if name in flags)
