"""Times and memory of the projector and FDK and of RTK, on cubes of noise."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

SOURCE_AXIS_MM, SOURCE_DETECTOR_MM = 1000.0, 1500.0

SIZES = ((64, 90), (128, 180), (256, 360))
"""Voxels along a side, which are also the detector's pixels, and views."""


def _cube(size: int) -> tuple[float, float, np.ndarray]:
    """Voxel and pixel size [mm] of a cube of 384 mm, and noise to fill it."""
    voxel = 384 / size
    values = np.random.default_rng(0).random((size, size, size), np.float32)
    return voxel, 1.725 * voxel, values


def ours_at(folder: Path, size: int, views: int) -> dict[str, float]:
    """Seconds and peak memory [MiB] of our three operations on a cube."""
    import torch

    from synthct.data.tomography.cone_beam import ConeBeam, full_circle
    from synthct.data.tomography.fdk import reconstruct
    from synthct.data.tomography.projector import Projector
    from synthct.data.volume import Grid

    torch.set_num_threads(1)
    voxel, pixel, values = _cube(size)
    grid = Grid((size,) * 3, (voxel,) * 3, (-(size - 1) / 2 * voxel,) * 3)
    beam = ConeBeam(
        full_circle(views), (size, size), (pixel, pixel), SOURCE_AXIS_MM, SOURCE_DETECTOR_MM
    )
    tiny = Grid((4, 4, 4), (voxel,) * 3, (0.0, 0.0, 0.0))
    small = ConeBeam(full_circle(4), (4, 4), (pixel, pixel))
    compiled = Projector(tiny, small)
    compiled.transpose(reconstruct_first(compiled, tiny, small, reconstruct))
    projector, volume = Projector(grid, beam), torch.from_numpy(values)
    base = _resident_mib()
    lines, forward_s = _timed(lambda: projector.forward(volume))
    _, transpose_s = _timed(lambda: projector.transpose(lines))
    _, fdk_s = _timed(lambda: reconstruct(lines, grid, beam))
    return {
        "forward_s": forward_s, "transpose_s": transpose_s, "fdk_s": fdk_s,
        "memory_mib": _peak_mib() - base,
    }  # fmt: skip


def reconstruct_first(projector, grid, beam, reconstruct):
    """Run everything once to compile it."""
    import torch

    lines = projector.forward(torch.zeros(grid.shape))
    reconstruct(lines, grid, beam)
    return lines


def _timed(work):
    started = time.process_time()
    made = work()
    return made, time.process_time() - started


def _resident_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def rtk_at(folder: Path, size: int, views: int) -> dict[str, float]:
    """The same of RTK."""
    import itk
    from itk import RTK

    itk.MultiThreaderBase.SetGlobalDefaultNumberOfThreads(1)
    voxel, pixel, values = _cube(size)
    kind = itk.Image[itk.F, 3]
    geometry = RTK.ThreeDCircularProjectionGeometry.New()
    for view in range(views):
        geometry.AddProjection(SOURCE_AXIS_MM, SOURCE_DETECTOR_MM, view * 360.0 / views)

    def image(array, step, third=None):
        made = itk.image_from_array(np.ascontiguousarray(array, np.float32))
        made.SetSpacing([step, step, third or step])
        half = [-(n - 1) / 2 * step for n in array.shape[::-1]]
        made.SetOrigin([half[0], half[1], half[2] if third is None else 0.0])
        return made

    volume = image(values, voxel)
    base = _resident_mib()
    forward = RTK.JosephForwardProjectionImageFilter[kind, kind].New()
    forward.SetInput(0, image(np.zeros((views, size, size)), pixel, 1.0))
    forward.SetInput(1, volume)
    forward.SetGeometry(geometry)
    _, forward_s = _timed(forward.Update)
    back = RTK.JosephBackProjectionImageFilter[kind, kind].New()
    back.SetInput(0, image(np.zeros((size,) * 3), voxel))
    back.SetInput(1, forward.GetOutput())
    back.SetGeometry(geometry)
    _, transpose_s = _timed(back.Update)
    fdk = RTK.FDKConeBeamReconstructionFilter[kind].New()
    fdk.SetInput(0, image(np.zeros((size,) * 3), voxel))
    fdk.SetInput(1, forward.GetOutput())
    fdk.SetGeometry(geometry)
    fdk.GetRampFilter().SetHannCutFrequency(1.0)
    _, fdk_s = _timed(fdk.Update)
    return {
        "forward_s": forward_s, "transpose_s": transpose_s, "fdk_s": fdk_s,
        "memory_mib": _peak_mib() - base,
    }  # fmt: skip


def speed_table(
    child: Callable[..., dict[str, float]], pythons: dict[str, Path | str]
) -> list[str]:
    """Times and memory over growing sizes; ``child`` runs a function in a process of its own."""
    lines = [
        "Cubes of noise and a detector with as many pixels along a side; one thread each; "
        "processor seconds, minimum of two runs, after compilation. Memory is the peak minus that "
        "of the process with the loaded volume. The last column is our forward projection divided "
        "by voxels and views.",
        "",
        "| voxels, views | operation | ours | RTK | ratio | ns per voxel and view |",
        "|---|---|---|---|---|---|",
    ]
    names = {"forward_s": "forward", "transpose_s": "transpose", "fdk_s": "FDK",
             "memory_mib": "memory"}  # fmt: skip
    for size, views in SIZES:
        found = {}
        for name, python in pythons.items():
            runs = [child(python, name, Path(), size, views) for _ in range(2)]
            found[name] = {key: min(run[key] for run in runs) for key in names}
        for key, operation in names.items():
            mine, theirs = found["ours_at"][key], found["rtk_at"][key]
            unit = "MiB" if key == "memory_mib" else "s"
            each = f"{1e9 * mine / (size**3 * views):.2f}" if key == "forward_s" else ""
            lines.append(
                f"| {size}^3, {views} | {operation} | {mine:.2f} {unit} | {theirs:.2f} {unit} | "
                f"{mine / theirs:.2f} | {each} |"
            )
    return lines
