"""What the segmentation of a case leaves, read back: label maps by image and their names."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from synthct.data.store.volumes import read_volume

FOUND = "structures.json"
"""``{"segmenter": ..., "names": {"1": structure}}``."""

ANATOMY = "anatomy"
"""The true labels in the segmenter's own classes, where the patient has them."""


def read_structures(folder: Path, name: str) -> dict[str, NDArray[np.bool_]]:
    """``{structure: mask}`` of one image of the unit's folder; empty: it was not segmented."""
    if not (folder / f"{name}.zarr").exists():
        return {}
    names = json.loads((folder / FOUND).read_text())["names"]
    labels = read_volume(folder / f"{name}.zarr").array
    return {structure: labels == int(value) for value, structure in names.items()}
