"""Units that take a while and say when they start."""

from __future__ import annotations

import hashlib
import os
import sys
import time
from pathlib import Path

NAP_S = 0.15


def nap(*, out: Path, name: str, log: str) -> None:
    """Sleep, then write what depends on the name alone."""
    handle = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(handle, f"{name}\n".encode())
    os.close(handle)
    time.sleep(NAP_S)
    for part in range(3):
        (out / f"{part}.txt").write_text(hashlib.sha256(f"{name}{part}".encode()).hexdigest())


def stage(root: Path, fan_out: object, count: int, store: Path | None = None) -> list[str]:
    """One stage of naps whose out is ``root/data/artefacts/toy``; names of the good units."""
    from synthct.data.layout import Layout
    from synthct.data.store.result_cache import LocalResults
    from synthct.tasks.pipeline.stage import StageContext, Unit, build_out, run_units

    os.chdir(root)
    folder = store or root / "units"
    folder.mkdir(exist_ok=True)
    context = StageContext(Layout(), 1, LocalResults(folder), fan_out)  # type: ignore[arg-type]
    names = [f"u{number:03d}" for number in range(count)]
    log = str(root / "started.log")
    units = [Unit(name, nap, arguments={"name": name, "log": log}) for name in names]
    with build_out(context, "toy") as out:
        return run_units(context, "toy", out, units)


def main(root: str, count: str) -> None:
    """A stage in a process of its own: one line and exit code 1 where the machine fails."""
    from synthct.data.errors import SynthctError
    from synthct.tasks.pipeline.fanout import from_environment

    try:
        stage(Path(root), from_environment(), int(count))
    except SynthctError as fault:
        print(f"{fault.code}: {fault}", flush=True)
        sys.exit(1)
