"""Forecast of a command on one scan or pair, for ``--dry-run``."""

from __future__ import annotations

import math
import os
import resource
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from synthct.data.readers import describe, pick_series
from synthct.flows.run.expected import ELSEWHERE, PUBLISHED
from synthct.flows.workspace.needs import WORKING_BYTES_A_VOXEL, needs_line
from synthct.tasks.pipeline.progress import spelled_s

if TYPE_CHECKING:
    from synthct.tasks.reconstruction.job import Settings

MEASURED_VIEWS = (12, 24)
"""Numbers of views of the two short reconstructions that a forecast is drawn from."""

READ_S = 3.0
"""Approximate time to read, check and write a scan of a million voxels [s]."""

_GB = 1e9


@dataclass(frozen=True)
class Single:
    """The forecast of one command: its scans, time [s], memory and disk [GB]."""

    scans: Mapping[str, str]
    seconds: float
    basis: str
    memory_gb: float
    disk_gb: float

    def as_json(self) -> dict[str, Any]:
        """Plain JSON."""
        needs = {"memory_gb": round(self.memory_gb, 2), "disk_gb": round(self.disk_gb, 3)}
        told = {"scans": dict(self.scans), "seconds": round(self.seconds, 1), "basis": self.basis}
        return told | needs

    def lines(self, folder: Path) -> list[str]:
        """Lines of text for the terminal."""
        told = [f"{name}: {text}" for name, text in self.scans.items()]
        told.append(f"about {spelled_s(self.seconds)} ({self.basis})")
        told.append(needs_line(self.memory_gb, self.disk_gb, folder))
        return [*told, "nothing was written: without --dry-run this is done"]


def of_register(fixed: Path, moving: Path, method: str, series: Mapping[str, str]) -> Single:
    """The forecast of a registration, from the sizes of the scans and typical times.

    Raises
    ------
    DataError, UsageError
        A scan cannot be read, or several fit.
    """
    shown, voxels = {}, 0.0
    for name, path in (("fixed", fixed), ("moving", moving)):
        facts = describe(path, series=pick_series(path, series.get(name, "")))
        shown[name] = _spelled(facts)
        voxels = max(voxels, float(math.prod(facts.grid.shape)))
    fixed_s, per_million_s = ELSEWHERE["elastix" if method.startswith("elastix") else "engine"]
    seconds = (fixed_s + per_million_s * voxels / 1e6) * PUBLISHED + READ_S * voxels / 1e6
    memory = _own_gb() + voxels * WORKING_BYTES_A_VOXEL / _GB
    disk = voxels * (2 + 12) / _GB  # the moved CT, and a displacement of three single floats
    return Single(shown, seconds, "typical of a Xeon core; may be off by half", memory, disk)


def of_predict(
    model: Path, scan: Path, *, series: str, overlap: float, tta: bool, threads: int, device: str
) -> Single:
    """The forecast of a prediction: the release is verified, and one window is computed.

    Raises
    ------
    DataError, UsageError
        Release or scan cannot be used.
    """
    from synthct.tasks.models.sliding import flips_of
    from synthct.tasks.models.windows import plan_windows
    from synthct.tasks.prediction.release import open_release
    from synthct.tasks.prediction.runtime import onnx_runner

    release = open_release(model)
    facts = describe(scan, series=pick_series(scan, series))
    extent, spacing = facts.grid.extent_mm, release.model.spacing_mm
    z, y, x = (max(1, round(mm / step)) for mm, step in zip(extent, spacing, strict=True))
    windows = plan_windows((z, y, x), release.model, overlap)
    sizes = tuple(axis.size for axis in windows.axes)
    shape = (release.model.slices, *sizes[1:]) if windows.flat else (1, *sizes)
    graphs = list(release.graphs())
    run = onnx_runner(graphs[0], threads=1, device=device)
    window = np.zeros((1, *shape), np.float32)
    run(window)  # the first one allocates memory
    begun_s = time.perf_counter()
    run(window)
    each_s = time.perf_counter() - begun_s
    count = math.prod(len(axis.starts) for axis in windows.axes) * len(graphs)
    count *= len(flips_of(release.model, tta=tta))
    at_once = 1 if device != "cpu" else threads or len(os.sched_getaffinity(0))
    voxels = float(math.prod(facts.grid.shape))
    seconds = count * each_s / at_once + READ_S * (voxels + z * y * x) / 1e6
    memory = _own_gb() + (voxels + z * y * x) * 24 / _GB
    shown = {"scan": _spelled(facts), "windows": f"{count} of {each_s * 1000:.0f} ms"}
    return Single(shown, seconds, "one window measured now", memory, voxels * 2 / _GB)


def of_reconstruct(
    projections: Path,
    geometry: Path,
    settings: Settings,
    *,
    open_beam: float | None,
    view_step: int,
    spacing_mm: tuple[float, float, float] | None,
    shape: tuple[int, int, int] | None,
) -> Single:
    """The forecast of a reconstruction, from iterations over a few of its views.

    The time of an iteration is a share that is the same for any number of views, such as that of
    the prior, and one that grows with them. Two numbers of views give both.

    Raises
    ------
    DataError, UsageError
        Files or parameters cannot be used.
    """
    from synthct.data.tomography.rtk_geometry import read_projections
    from synthct.tasks.reconstruction.job import FDK, reconstruct_sinogram, usual_grid

    sinogram = read_projections(projections, geometry, open_beam=open_beam).every(view_step)
    grid = usual_grid(sinogram, spacing_mm, shape)
    short = replace(settings, iterations=2, tolerance_hu=0.0, flicking=False)
    views = len(sinogram.values)
    counted, begun_s, iteration_s = [], [], []
    for wanted in (MEASURED_VIEWS[0], *MEASURED_VIEWS):  # the first compiles the projector
        few = sinogram.every(max(1, views // wanted))
        ended = [time.perf_counter()]
        reconstruct_sinogram(
            few, grid, short, progress=lambda *_, ended=ended: ended.append(time.perf_counter())
        )
        counted.append(len(few.values))
        ended.append(time.perf_counter())
        begun_s.append(ended[1] - ended[0])
        iteration_s.append(ended[2] - ended[1] if len(ended) > 2 else 0.0)  # fdk has none
    more = 0 if settings.method == FDK else settings.iterations - 1  # the start has the first one
    seconds = _extended(counted[1:], begun_s[1:], views)
    seconds += more * _extended(counted[1:], iteration_s[1:], views)
    z, y, x = grid.shape
    dz, dy, dx = grid.spacing_mm
    voxels, rays = float(z * y * x), float(sinogram.values.size)
    seconds += READ_S * (voxels + rays) / 1e6
    shown = {
        "projections": f"{views} views of {' x '.join(map(str, sinogram.values.shape[:0:-1]))}",
        "image": f"{x} x {y} x {z} voxels of {dx:.3g} x {dy:.3g} x {dz:.3g} mm",
    }
    basis = f"measured now on {counted[1]} and {counted[2]} views; may stop earlier"
    if settings.flicking:
        basis += "; without --flicking, which trains a network"
    memory = _own_gb() + (10 * voxels + 3 * rays) * 4 / _GB
    return Single(shown, seconds, basis, memory, voxels * 4 / _GB)


def _extended(counts: Sequence[int], seconds: Sequence[float], views: int) -> float:
    """Time for all views, from a straight line through two counts of them [s]."""
    (first, last), (short_s, long_s) = counts, seconds
    if last == first:
        return long_s
    each_s = max(0.0, (long_s - short_s) / (last - first))
    return long_s + each_s * (views - last)


def _spelled(facts: Any) -> str:
    z, y, x = facts.grid.shape
    dz, dy, dx = facts.grid.spacing_mm
    return f"{facts.format}, {x} x {y} x {z} voxels of {dx:.3g} x {dy:.3g} x {dz:.3g} mm"


def _own_gb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / _GB
