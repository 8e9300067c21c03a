"""Structures of one test case: its synthetic CT and its references by the same segmenter."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from synthct.data.files import canonical_json, write_whole
from synthct.data.store.volumes import read_volume, write_volume
from synthct.data.volume import Grid, Modality, Volume
from synthct.tasks.evaluation.segmenter.total import total_segmentator


def segment_case(
    *,
    out: Path,
    mask: Path,
    segmenter: str,
    identity: str = "",
    model: Path | None = None,
    truth_labels: Path | None = None,
    labels: Path | None = None,
    **images: Path,
) -> None:
    """Unit: write ``NAME.zarr`` label maps of every image and ``structures.json``.

    Parameters
    ----------
    segmenter
        ``small``, whose trained network is in the folder ``model``, or ``totalsegmentator``.
    identity
        Hash of a segmenter that is not an input, as a part of the unit's cache key.
    truth_labels, labels
        True anatomy and the meaning of its values; converted to the small segmenter's classes.
    images
        CTs by name; the synthetic CT is ``sct``, as ``model`` is the folder of the network.
    """
    from synthct.tasks.evaluation.segmenter.fit import classes_of, load_segmenter
    from synthct.tasks.evaluation.segmenter.network import segment

    body = read_volume(mask)
    inside, names = body.array > 0, dict[str, str]()
    if model is not None:
        network, classes = load_segmenter(model)
        names = {str(value): name for value, name in enumerate(classes, 1)}
        for name, path in images.items():
            _write(out, name, segment(network, read_volume(path).array, inside), body.grid)
        if truth_labels is not None and labels is not None:
            meanings = json.loads(labels.read_text())
            anatomy = classes_of(read_volume(truth_labels).array, meanings, classes)
            _write(out, ANATOMY, np.where(inside, anatomy, np.uint8(0)), body.grid)
    else:
        for name, path in images.items():
            found, meanings = total_segmentator(read_volume(path))
            names |= meanings
            _write(out, name, np.where(inside, found, np.uint8(0)), body.grid)
    write_whole(
        out / FOUND, canonical_json({"segmenter": segmenter, "identity": identity, "names": names})
    )


def _write(out: Path, name: str, labels: NDArray[np.uint8], grid: Grid) -> None:
    write_volume(out / f"{name}.zarr", Volume(labels, grid, Modality.LABELS))


FOUND = "structures.json"
"""``{"segmenter": ..., "names": {"1": structure}}``."""

ANATOMY = "anatomy"
"""The true labels in the segmenter's own classes, where the patient has them."""


def read_structures(folder: Path, name: str) -> dict[str, NDArray[np.bool_]]:
    """``{structure: mask}`` of one image in the unit's folder; empty if it was not segmented."""
    if not (folder / f"{name}.zarr").exists():
        return {}
    names = json.loads((folder / FOUND).read_text())["names"]
    labels = read_volume(folder / f"{name}.zarr").array
    return {structure: labels == int(value) for value, structure in names.items()}
