"""Pieces of :mod:`benchmarks.registration_scale`, each run in a process of its own."""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

Shape = tuple[int, int, int]

OPTIONS: dict[str, Any] = {"factors": [4, 2], "iterations": [12, 6]}
"""Of ``mind``: the same levels at every size, and few steps. A registration takes about ten times
as many, which does not change the growth with the size."""

SHORT: dict[str, Any] = {**OPTIONS, "iterations": [2, 1]}
"""Of the whole registration; its memory does not depend on the number of steps."""


@dataclass(frozen=True)
class Cost:
    """Measurements of a child process.

    Parameters
    ----------
    cpu_s
        Processor time, which other load on the machine affects least [s].
    peak_gb, before_gb
        Memory of the process: peak, and before the work started [GB].
    by_step
        Peak while each step ran [GB].
    load
        Of the machine, over the last minute.
    """

    cpu_s: float
    peak_gb: float
    before_gb: float
    levels: int = 0
    verdict: str = ""
    by_step: Mapping[str, float] = field(default_factory=dict)
    load: float = 0.0


def main(what: str, *numbers: str) -> None:
    """Print one :class:`Cost` as JSON."""
    import torch

    torch.set_num_threads(1)
    work = {"engine": _engine, "register": _register, "capped": _capped}[what]
    sys.stdout.write(json.dumps(asdict(work(*numbers))) + "\n")


def _pair(shape: Shape) -> Any:
    """The digital patient on that many voxels."""
    from benchmarks.registration_phantom import patient
    from synthct.data.itk import resample
    from synthct.data.volume import Grid
    from synthct.tasks.registration.scan_pair import ScanPair

    small = patient("thorax", "mr", 0).pair
    sides = small.fixed.grid.extent_mm
    spacing = tuple(side / count for side, count in zip(sides, shape, strict=True))
    grid = Grid(shape, (spacing[0], spacing[1], spacing[2]), small.fixed.grid.origin_mm)
    return ScanPair(
        resample(small.fixed, grid, outside=0.0),
        resample(small.moving, grid, outside=-1024.0),
        resample(small.fixed_body, grid, outside=0, nearest=True),
        resample(small.moving_body, grid, outside=0, nearest=True),
    )


def _engine(*numbers: str) -> Cost:
    """The torch engine alone: all levels of ``OPTIONS``."""
    import SimpleITK as sitk

    from synthct.tasks.registration.job import Job
    from synthct.tasks.registration.methods import METHODS
    from synthct.tasks.registration.presets import preset_called

    method, still = METHODS.build("mind", OPTIONS), sitk.Euler3DTransform()
    small = _pair((16, 16, 16))
    # Imports and the first use of torch are not part of the cost per voxel.
    method.deformable(
        Job.of(small, small.fixed.grid, preset_called("mr_TH"), seed=0, threads=1), still
    )
    pair = _pair(_shape(numbers))
    job = Job.of(pair, pair.fixed.grid, preset_called("mr_TH"), seed=0, threads=1)
    before, begun = _resident_gb("VmRSS"), time.process_time()
    _forget_peak()
    method.deformable(job, still)
    return Cost(
        time.process_time() - begun,
        _resident_gb("VmHWM"),
        before,
        len(OPTIONS["factors"]),
        load=_load(),
    )


def _register(*numbers: str) -> Cost:
    """Rigid step, engine (few steps) and gate: ``synthct register`` without its files."""
    from synthct.tasks.registration.gate.params import GateParams
    from synthct.tasks.registration.methods import METHODS
    from synthct.tasks.registration.presets import preset_called
    from synthct.tasks.registration.register import register

    pair = _pair(_shape(numbers))
    before, begun = _resident_gb("VmRSS"), time.process_time()
    peaks: dict[str, float] = {}
    running = ["checks"]

    def tell(step: str) -> None:
        peaks[running[-1]] = _resident_gb("VmHWM")
        running.append(step)
        _forget_peak()

    _forget_peak()
    done = register(
        pair,
        pair.fixed.grid,
        preset_called("mr_TH"),
        GateParams(search_globally=False),
        METHODS.build("mind", SHORT),
        seed=0,
        tell=tell,
    )
    spent = time.process_time() - begun
    tell("end")
    verdict = f"{done.judgement.step}: {done.judgement.verdict}"
    return Cost(spent, max(peaks.values()), before, 0, verdict, peaks, _load())


def _capped(cap_gb: str, *numbers: str) -> Cost:
    """The engine's levels under a limit on memory."""
    from synthct.data.itk import resample
    from synthct.tasks.registration.engine import deform as engine
    from synthct.tasks.registration.engine.settings import Settings

    def two(shape: Shape) -> Any:
        pair = _pair(shape)
        return engine.Pair(
            pair.fixed,
            resample(pair.moving, pair.fixed.grid, outside=-1024.0),
            np.asarray(pair.fixed_body.array),
            np.asarray(pair.moving_body.array),
        )

    settings = Settings(factors=(4.0, 2.0, 1.0), iterations=(2, 2, 2))
    engine.deform(two((16, 16, 16)), settings)
    pair = two(_shape(numbers))
    before, begun = _resident_gb("VmRSS"), time.process_time()
    _forget_peak()
    capped = Settings(factors=(4.0, 2.0, 1.0), iterations=(2, 2, 2), max_memory_gb=float(cap_gb))
    done = engine.deform(pair, capped)
    return Cost(
        time.process_time() - begun, _resident_gb("VmHWM"), before, len(done.courses), load=_load()
    )


def _resident_gb(which: str) -> float:
    """``VmRSS``: now; ``VmHWM``: peak since the last reset."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(which):
            return int(line.split()[1]) * 1024 / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def _forget_peak() -> None:
    """Reset the peak that Linux counts."""
    Path("/proc/self/clear_refs").write_text("5")


def _load() -> float:
    return os.getloadavg()[0]


def _shape(numbers: tuple[str, ...]) -> Shape:
    z, y, x = (int(number) for number in numbers)
    return z, y, x


if __name__ == "__main__":
    main(*sys.argv[1:])
