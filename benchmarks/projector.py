"""The cone-beam projector and FDK beside RTK's, on the same off-centre ellipsoids."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

PEERS = Path(".venv-peers/bin/python")

SHAPE, SPACING_MM = (64, 96, 96), 3.0
VIEWS, DETECTOR, PIXEL_MM = 60, (96, 160), 4.5
SOURCE_AXIS_MM, SOURCE_DETECTOR_MM = 1000.0, 1500.0

ELLIPSOIDS = (
    ((5.0, -10.0, 8.0), (60.0, 70.0, 100.0), 0.020),
    ((-20.0, 25.0, 40.0), (15.0, 20.0, 12.0), 0.015),
    ((25.0, -30.0, -45.0), (12.0, 10.0, 25.0), -0.012),
)
"""Centre and half axes (z, y, x) [mm], attenuation added [1/mm]: no symmetry that hides a flip."""

WITHIN = 0.02
"""Held to: relative difference (2-norm) of two projectors; both sample a voxelled edge."""


def phantom() -> np.ndarray:
    """Attenuation (Z, Y, X) [1/mm]; voxels are split into 3 x 3 x 3 for their share of an edge."""
    parts = 3
    axes = [
        (np.arange(n * parts) - (n * parts - 1) / 2) * SPACING_MM / parts for n in SHAPE
    ]  # fmt: skip
    z, y, x = axes[0][:, None, None], axes[1][:, None], axes[2]
    fine = np.zeros([n * parts for n in SHAPE], np.float32)
    for centre, half, value in ELLIPSOIDS:
        inside = sum(((a - c) / h) ** 2 for a, c, h in zip((z, y, x), centre, half, strict=True))
        fine += np.where(inside < 1, np.float32(value), np.float32(0))
    blocks = fine.reshape(SHAPE[0], parts, SHAPE[1], parts, SHAPE[2], parts)
    return blocks.mean(axis=(1, 3, 5), dtype=np.float32)


def ours(folder: Path) -> dict[str, float]:
    """Sinograms (views, V, U) of both our projectors, and FDK, into the folder."""
    import torch

    from synthct.data.tomography.cone_beam import ConeBeam, forward_project, full_circle
    from synthct.data.tomography.fdk import reconstruct
    from synthct.data.tomography.projector import Projector
    from synthct.data.volume import Grid

    origin = [-(n - 1) / 2 * SPACING_MM for n in SHAPE]
    grid = Grid(SHAPE, (SPACING_MM,) * 3, tuple(origin))
    beam = ConeBeam(
        full_circle(VIEWS), DETECTOR, (PIXEL_MM, PIXEL_MM), SOURCE_AXIS_MM, SOURCE_DETECTOR_MM
    )
    volume = torch.from_numpy(phantom())[None]
    projector = Projector(grid, beam)
    sinogram = projector.forward(volume[0])
    image = reconstruct(sinogram, grid, beam)
    np.save(folder / "sampled.npy", forward_project(volume, grid, beam)[0].numpy())
    np.save(folder / "ours.npy", sinogram.numpy())
    np.save(folder / "ours_fdk.npy", image.numpy())
    return {}


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
    """Run everything once, so that it is compiled."""
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


def rtk(folder: Path) -> dict[str, float]:
    """RTK's Joseph projector, exact chords of its ellipsoids and FDK, in our axes.

    Its rotation axis is y and its source starts at +z: our (x, z, -y).
    """
    import itk
    from itk import RTK

    itk.MultiThreaderBase.SetGlobalDefaultNumberOfThreads(1)
    geometry = RTK.ThreeDCircularProjectionGeometry.New()
    for view in range(VIEWS):
        geometry.AddProjection(SOURCE_AXIS_MM, SOURCE_DETECTOR_MM, view * 360.0 / VIEWS)
    kind = itk.Image[itk.F, 3]

    def image(array: np.ndarray, spacing: list[float], origin: list[float]):
        made = itk.image_from_array(np.ascontiguousarray(array, np.float32))
        made.SetSpacing(spacing)
        made.SetOrigin(origin)
        return made

    def empty_views():
        v, u = DETECTOR
        origin = [-(u - 1) / 2 * PIXEL_MM, -(v - 1) / 2 * PIXEL_MM, 0.0]
        return image(np.zeros((VIEWS, v, u)), [PIXEL_MM, PIXEL_MM, 1.0], origin)

    # (Z, Y, X) of ours -> arrays (z', y', x') of RTK: z' = -y, y' = z, x' = x.
    turned = phantom()[:, ::-1, :].transpose(1, 0, 2)
    origin = [-(n - 1) / 2 * SPACING_MM for n in turned.shape[::-1]]
    volume = image(turned, [SPACING_MM] * 3, origin)

    joseph = RTK.JosephForwardProjectionImageFilter[kind, kind].New()
    joseph.SetInput(0, empty_views())
    joseph.SetInput(1, volume)
    joseph.SetGeometry(geometry)
    joseph.Update()
    sinogram = itk.array_from_image(joseph.GetOutput())

    exact = np.zeros_like(sinogram)
    for centre, half, value in ELLIPSOIDS:
        chords = RTK.RayEllipsoidIntersectionImageFilter[kind, kind].New()
        chords.SetInput(empty_views())
        chords.SetGeometry(geometry)
        chords.SetDensity(value)
        chords.SetCenter([centre[2], centre[0], -centre[1]])
        chords.SetAxis([half[2], half[0], half[1]])
        chords.Update()
        exact += itk.array_from_image(chords.GetOutput())

    fdk = RTK.FDKConeBeamReconstructionFilter[kind].New()
    fdk.SetInput(0, image(np.zeros_like(turned), [SPACING_MM] * 3, origin))
    fdk.SetInput(1, joseph.GetOutput())
    fdk.SetGeometry(geometry)
    fdk.GetRampFilter().SetHannCutFrequency(1.0)
    fdk.Update()
    back = itk.array_from_image(fdk.GetOutput()).transpose(1, 0, 2)[:, ::-1, :]
    np.save(folder / "rtk.npy", sinogram)
    np.save(folder / "exact.npy", exact)
    np.save(folder / "rtk_fdk.npy", back)
    return {}


RUNS = {"ours": ours, "rtk": rtk, "ours_at": ours_at, "rtk_at": rtk_at}

SIZES = ((64, 90), (128, 180), (256, 360))
"""Voxels along a side, which are also the detector's pixels, and views."""

WITHIN_TIMES, WITHIN_MEMORY = 1.5, 1.2
"""Held to: RTK's time and memory."""


def _child(python: Path | str, name: str, folder: Path, *more: int) -> dict[str, float]:
    done = subprocess.run(
        [str(python), "-m", "benchmarks.projector", name, str(folder), *map(str, more)],
        capture_output=True, text=True, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    return json.loads(done.stdout.splitlines()[-1])


def _apart(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.linalg.norm(one - other) / np.linalg.norm(other))


def measure() -> str:
    """The table, or that the peer is not there."""
    if not PEERS.exists():
        return "RTK was not there: `make peers` installs it."
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        _child(sys.executable, "ours", folder)
        _child(PEERS, "rtk", folder)
        told = {path.stem: np.load(path) for path in folder.glob("*.npy")}
    truth = phantom()
    middle = slice(16, 48)  # the cone's ends are not seen by every view
    fdk = [_apart(told[name][middle], truth[middle]) for name in ("ours_fdk", "rtk_fdk")]
    apart = _apart(told["ours"], told["rtk"])
    size = "x".join(map(str, SHAPE))
    met = "(met)" if apart <= WITHIN else "(NOT met)"
    exact = [_apart(told[name], told["exact"]) for name in ("ours", "rtk")]
    images = _apart(told["ours_fdk"][middle], told["rtk_fdk"][middle])
    sampled = _apart(told["sampled"], told["exact"])
    return "\n".join(
        [
            f"Three ellipsoids without symmetry in {size} voxels of {SPACING_MM:g} mm, {VIEWS} "
            f"views of {DETECTOR[0]}x{DETECTOR[1]} pixels. Differences are 2-norms relative to the "
            "second named. The simulation's own sampling projector is "
            f"{sampled:.4f} from the exact chords.",
            "",
            "| | ours | RTK (Joseph, FDK) | limit |",
            "|---|---|---|---|",
            f"| sinogram against exact chords | {exact[0]:.4f} | {exact[1]:.4f} | |",
            f"| sinogram against RTK's | {apart:.4f} | | {WITHIN:g} {met} |",
            f"| FDK against the phantom, middle slices | {fdk[0]:.3f} | {fdk[1]:.3f} | |",
            f"| FDK against RTK's | {images:.3f} | | |",
            "",
            *_speed(),
        ]
    )


def _speed() -> list[str]:
    """Times and memory over growing sizes."""
    lines = [
        "Cubes of noise; a detector of as many pixels as voxels; one thread each, seconds of the "
        "processor, best of two runs, compiled before. Memory is the peak above the process with "
        f"its volume. Limits: {WITHIN_TIMES:g} times RTK's time, {WITHIN_MEMORY:g} times its "
        "memory. The last column is our forward projection over voxels and views.",
        "",
        "| voxels, views | operation | ours | RTK | ratio | ns per voxel and view |",
        "|---|---|---|---|---|---|",
    ]
    names = {"forward_s": "forward", "transpose_s": "transpose", "fdk_s": "FDK",
             "memory_mib": "memory"}  # fmt: skip
    for size, views in SIZES:
        found = {}
        for name, python in (("ours_at", sys.executable), ("rtk_at", PEERS)):
            runs = [_child(python, name, Path(), size, views) for _ in range(2)]
            found[name] = {key: min(run[key] for run in runs) for key in names}
        for key, operation in names.items():
            mine, theirs = found["ours_at"][key], found["rtk_at"][key]
            limit = WITHIN_MEMORY if key == "memory_mib" else WITHIN_TIMES
            met = "met" if mine <= limit * theirs else "NOT met"
            unit = "MiB" if key == "memory_mib" else "s"
            each = f"{1e9 * mine / (size**3 * views):.2f}" if key == "forward_s" else ""
            lines.append(
                f"| {size}^3, {views} | {operation} | {mine:.2f} {unit} | {theirs:.2f} {unit} | "
                f"{mine / theirs:.2f} ({met}) | {each} |"
            )
    return lines


if __name__ == "__main__":
    print(json.dumps(RUNS[sys.argv[1]](Path(sys.argv[2]), *map(int, sys.argv[3:]))))
