"""Ingestion: reading and storing scans, compared with other programs in the same run."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from synthct.data.readers import read_scan
from synthct.data.readers.process import pool
from synthct.data.store.volumes import open_array, read_volume, write_volume
from synthct.data.volume import Grid, Modality, Volume
from synthct.data.writers import write_image
from synthct.data.writers.dicom import write_series

REPEATS = 5
SLICES = 200
PATCH = (32, 64, 64)
PATCHES = 200
SCANS = 500


def body_ct(slices: int, side: int = 512) -> Volume:
    """A noisy cylinder of water with bone, in air; it compresses about as well as a CT."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:side, :side] - side / 2
    radius = np.hypot(y, x) / side
    plane = np.where(radius < 0.4, 40, -1000) + 900 * (np.abs(radius - 0.2) < 0.02)
    noise = rng.normal(0, 12, (slices, side, side)) * (radius < 0.4)
    return Volume(
        (plane + noise).astype(np.int16), Grid((slices, side, side), (2.0, 0.9, 0.9)), Modality.CT
    )


def measure() -> str:
    """All sections, as markdown."""
    with tempfile.TemporaryDirectory(prefix="synthct-bench-") as place:
        folder, scan = Path(place), body_ct(SLICES)
        sections = [
            _series(folder, scan), _write(folder, scan), _patches(folder, scan), _stream(folder),
        ]  # fmt: skip
    return "\n\n".join(sections)


def _series(folder: Path, scan: Volume) -> str:
    path = folder / "series"
    write_series(path, scan, patient_id="A", study="1", series_description="s", uid_seed="b")
    read_scan(path)  # warms the reader's process and the disk's cache
    cpu_s: list[float] = []

    def ours() -> None:
        before = time.process_time()
        read_scan(path)
        cpu_s.append(pool.last_cpu_s + time.process_time() - before)

    def plain() -> None:
        reader = sitk.ImageSeriesReader()
        reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(path)))
        reader.Execute()

    wall = _least(ours, plain)
    processor = min(cpu_s) / _least_cpu(plain)
    return (
        f"## A series of {SLICES} slices of 512 x 512\n\n"
        "Read and checked (every header compared with the others, geometry, byte counts) in a warm"
        " reader process, compared with SimpleITK's series reader.\n\n"
        "| | ours [s] | SimpleITK [s] | ratio |\n|---|---|---|---|\n"
        f"| wall time, minimum of {REPEATS} | {wall[0]:.2f} | {wall[1]:.2f} |"
        f" {wall[0] / wall[1]:.2f} |\n"
        f"| processor time, minimum of {REPEATS} | {min(cpu_s):.2f}"
        f" | {min(cpu_s) / processor:.2f} | {processor:.2f} |"
    )


def _write(folder: Path, scan: Volume) -> str:
    def plain() -> None:
        with (folder / "plain.npy").open("wb") as file:
            np.save(file, scan.array)
            file.flush()
            os.fsync(file.fileno())

    wall = _least(lambda: write_volume(folder / "ct.zarr", scan), plain)
    stored = sum(file.stat().st_size for file in (folder / "ct.zarr").rglob("*") if file.is_file())
    return (
        "## Writing it to the store\n\n"
        f"Compressed to {stored / scan.array.nbytes:.0%} of {scan.array.nbytes >> 20} MiB, with a"
        " checksum for each chunk, SHA-256 of each file and fsync; compared with `numpy.save` and"
        " fsync.\n\n"
        "| ours [s] | numpy.save + fsync [s] | ratio |\n|---|---|---|\n"
        f"| {wall[0]:.2f} | {wall[1]:.2f} | {wall[0] / wall[1]:.1f} |"
    )


def _patches(folder: Path, scan: Volume) -> str:
    stored = open_array(folder / "ct.zarr")
    np.save(folder / "raw.npy", scan.array)
    raw = np.load(folder / "raw.npy", mmap_mode="r")
    rng = np.random.default_rng(1)
    room = [size - part + 1 for size, part in zip(scan.grid.shape, PATCH, strict=True)]
    starts = [tuple(int(rng.integers(most)) for most in room) for _ in range(PATCHES)]

    def through(array: object) -> None:
        for start in starts:
            window = tuple(slice(a, a + n) for a, n in zip(start, PATCH, strict=True))
            np.array(array[window])  # type: ignore[index]

    wall = _least(lambda: through(stored), lambda: through(raw))
    assert np.array_equal(read_volume(folder / "ct.zarr").array, scan.array)
    return (
        f"## Random patches of {' x '.join(map(str, PATCH))}\n\n"
        "Decompressed, with checksums verified; compared with a raw memory map in the page cache."
        "\n\n"
        "| ours [ms per patch] | memory map [ms per patch] | ratio |\n|---|---|---|\n"
        f"| {wall[0] / PATCHES * 1e3:.2f} | {wall[1] / PATCHES * 1e3:.2f} |"
        f" {wall[0] / wall[1]:.0f} |"
    )


def _stream(folder: Path) -> str:
    path = folder / "one.mha"
    write_image(path, body_ct(64, 256))
    resident, peaks = [], []
    for _ in range(SCANS):
        read_scan(path, Modality.CT)
        peaks.append(pool.last_peak_bytes)
        resident.append(_resident_bytes())
    mb = 1e-6
    most = max(a + b for a, b in zip(resident, peaks, strict=True)) * mb
    return (
        f"## {SCANS} scans in a row\n\n"
        "Largest memory of caller and reader together, and growth of the caller from the 50th to"
        f" the {SCANS}th scan.\n\n"
        "| largest [MB] | growth of the caller [MB] |\n|---|---|\n"
        f"| {most:.0f} | {(resident[-1] - resident[49]) * mb:+.1f} |"
    )


def _least(*actions: Callable[[], None]) -> list[float]:
    """Least wall time of each action [s]; they take turns, so that load affects all alike."""
    times: list[list[float]] = [[] for _ in actions]
    for _ in range(REPEATS):
        for action, found in zip(actions, times, strict=True):
            start = time.perf_counter()
            action()
            found.append(time.perf_counter() - start)
    return [min(found) for found in times]


def _least_cpu(action: Callable[[], None]) -> float:
    found = []
    for _ in range(REPEATS):
        start = time.process_time()
        action()
        found.append(time.process_time() - start)
    return min(found)


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
