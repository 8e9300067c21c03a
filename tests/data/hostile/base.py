"""What the builders share: a small good scan, and a name for each harm."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from synthct.data.volume import Grid, Modality, Volume
from synthct.data.writers import write_image
from synthct.data.writers.dicom import write_series

CANARY = "canary-7f3a"
"""Stands in a file outside every source: no message and no output may hold it."""

GRID = Grid((6, 8, 10), (3.0, 1.0, 1.0))
VOLUME = Volume(
    np.random.default_rng(2).integers(-1000, 1000, GRID.shape).astype(np.int16), GRID, Modality.CT
)
Builder = Callable[[Path], Path]


def collection() -> tuple[dict[str, Builder], Callable[[Builder], Builder]]:
    """A dictionary of builders and the decorator that fills it."""
    builders: dict[str, Builder] = {}

    def add(builder: Builder) -> Builder:
        assert builder.__name__ not in builders
        builders[builder.__name__] = builder
        return builder

    return builders, add


def canary(folder: Path) -> Path:
    """The file that nobody may read: beside the sources, large enough to be voxels."""
    return folder.parent / "canary.raw"


def image(folder: Path, suffix: str) -> tuple[Path, bytes]:
    """A good image file and its bytes."""
    path = folder / f"scan{suffix}"
    write_image(path, VOLUME)
    return path, path.read_bytes()


def changed(folder: Path, suffix: str, *swaps: tuple[bytes, bytes]) -> Path:
    """A good image file with texts of its header replaced."""
    path, data = image(folder, suffix)
    for old, new in swaps:
        assert old in data, old
        data = data.replace(old, new, 1)
    path.write_bytes(data)
    return path


def series(folder: Path, name: str = "series") -> list[Path]:
    """A good DICOM series."""
    return write_series(folder / name, VOLUME, patient_id="A", study="1", series_description="s",
                        uid_seed="t")  # fmt: skip
