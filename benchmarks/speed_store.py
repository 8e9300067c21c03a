"""Speed: writing and reading a stored volume, by codec."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter
from zarr.codecs import BloscCodec, Crc32cCodec, ZstdCodec

from benchmarks._speed import processor, result
from synthct.data.store import volumes
from synthct.data.volume import Displacement, Grid, Modality, Volume

BEFORE = "zstd 3"
"""The codec that was used before."""


def measure() -> str:
    """The same volumes with each codec, always with checksums."""
    codecs: dict[str, Any] = {BEFORE: ZstdCodec(level=3), "zstd 1": ZstdCodec(level=1)}
    for level in (1, 3):
        for shuffle in ("shuffle", "bitshuffle"):
            codecs[f"Blosc, zstd {level}, {shuffle}"] = BloscCodec(
                cname="zstd", clevel=level, shuffle=shuffle
            )
    codecs["Blosc, lz4 1, bitshuffle"] = BloscCodec(cname="lz4", clevel=1, shuffle="bitshuffle")
    used = volumes.COMPRESSORS
    found: dict[str, tuple[float, float, float]] = {}
    lines = []
    try:
        for name, codec in codecs.items():
            volumes.COMPRESSORS = (codec, Crc32cCodec())
            total = np.zeros(3)
            for what, thing in _things().items():
                one = _measured(thing)
                total += one
                lines.append(f"| {what} | {name} | {one[0]:.2f} | {one[1]:.2f} | {one[2]:.2f} |")
            found[name] = (float(total[0]), float(total[1]), float(total[2]))
    finally:
        volumes.COMPRESSORS = used
    chosen = next(name for name, codec in codecs.items() if codec == used[0])
    write, read, size = (
        now / before for now, before in zip(found[chosen], found[BEFORE], strict=True)
    )
    return "\n".join(
        [
            processor(),
            "",
            f"Chosen codec: {chosen}. Every chunk has a CRC-32C and every file a SHA-256.",
            "",
            "| volume | codec | write [s] | read [s] | size [MB] |",
            "|---|---|---|---|---|",
            *sorted(lines),
            "",
            result(write, "time to write the three volumes", BEFORE),
            "",
            result(read, "time to read the three volumes", BEFORE),
            "",
            result(size, "size of the three volumes", BEFORE),
        ]
    )


def _things() -> dict[str, Volume | Displacement]:
    """A CT with noise and air, an MR with noise and a displacement, of 64 x 160 x 160 voxels."""
    shape = (64, 160, 160)
    rng = np.random.default_rng(0)
    grid = Grid(shape, (3.0, 1.0, 1.0), (0.0, 0.0, 0.0))
    _, y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    body = y * y + 0.7 * x * x < 0.6
    organs = gaussian_filter(rng.normal(size=shape), 6.0) * 2000
    ct = np.where(body, organs + rng.normal(0, 15, shape), -1000 + rng.normal(0, 8, shape))
    mr = np.where(body, np.abs(organs + 300 + rng.normal(0, 10, shape)), 0.0)
    field = [gaussian_filter(rng.normal(size=shape), 10.0) * 500 for _ in range(3)]
    return {
        "CT, int16": Volume(np.rint(ct).astype(np.int16), grid, Modality.CT),
        "MR, float32": Volume(mr.astype(np.float32), grid, Modality.MR),
        "displacement, float32": Displacement(np.stack(field).astype(np.float32), grid),
    }


def _measured(thing: Volume | Displacement) -> tuple[float, float, float]:
    """Processor time of writing and of reading [s], best of three, and the size [MB]."""
    written, read = [], []
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary) / "volume.zarr"
        for _ in range(3):
            began_s = time.process_time()
            if isinstance(thing, Volume):
                volumes.write_volume(place, thing)
            else:
                volumes.write_displacement(place, thing)
            middle_s = time.process_time()
            if isinstance(thing, Volume):
                volumes.read_volume(place)
            else:
                volumes.read_displacement(place)
            written.append(middle_s - began_s)
            read.append(time.process_time() - middle_s)
        size = sum(file.stat().st_size for file in place.rglob("*") if file.is_file())
    return min(written), min(read), size / 1e6
