"""Structures from files: for each side a folder of masks, or one label map."""

from __future__ import annotations

import json
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from synthct.data.errors import DataError
from synthct.data.readers import read_scan
from synthct.data.volume import Modality
from synthct.tasks.evaluation.inputs import Target
from synthct.tasks.evaluation.pair import Mask
from synthct.tasks.pipeline.artefacts import LABELS

IMAGES = (".nii.gz", ".nii", ".mha", ".nrrd", ".ome.zarr", ".zarr")
"""File name endings; ``.zarr`` is OME-Zarr, the format in which ingestion stores structures."""


def read_side(folder: Path, side: str, target: Target, inside: Mask) -> dict[str, Mask]:
    """``{structure: mask}`` of ``folder/SIDE/NAME.*`` or of the label map ``folder/SIDE.*``.

    Masks are cut to ``inside``. ``labels.json`` beside a label map names its values,
    ``{"1": "liver"}`` or ``{"1": {"name": "liver"}}``; others are called ``label_1``.

    Raises
    ------
    DataError
        The side is missing, a mask lies on another grid, or two structures share a name.
    """
    masks = folder / side
    if masks.is_dir():
        paths = [path for path in sorted(masks.iterdir()) if _is_mask(path)]
        _named_once([_name(path) for path in paths], masks)
        return {_name(path): target.mask(path) & inside for path in paths}
    for suffix in IMAGES:
        path = folder / f"{side}{suffix}"
        if path.exists():
            return _from_labels(path, target, inside)
    raise DataError(
        f"there is neither a folder nor a label map of the {side}",
        rule="segmentations are folders SIDE/NAME.* of masks, or label maps SIDE.*, for the sides "
        "prediction and reference",
        where=str(masks),
        remedy="add it to the folder of segmentations",
        code="segmentations-missing",
    )


def unseen(structures: Mapping[str, Mask]) -> list[str]:
    """A warning for each structure that has no voxel in the mask."""
    return [
        f"{name}: no voxel of it lies in the mask, so it is not scored"
        for name, inside in structures.items()
        if not inside.any()
    ]


def has_side(folder: Path, side: str) -> bool:
    """Whether the folder has segmentations of the side."""
    return (folder / side).is_dir() or any((folder / f"{side}{s}").exists() for s in IMAGES)


def _from_labels(path: Path, target: Target, inside: Mask) -> dict[str, Mask]:
    labels = target.fits(read_scan(path, Modality.LABELS), path).array
    names = _names(path.parent / LABELS)
    present = sorted({int(v) for v in labels[inside]} | {int(v) for v in names})
    called = {value: names.get(str(value), f"label_{value}") for value in present if value > 0}
    _named_once(list(called.values()), path.parent / LABELS)
    return {name: (labels == value) & inside for value, name in called.items()}


def _names(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    try:
        stored = json.loads(path.read_text())
        return {
            str(int(value)): str(name["name"] if isinstance(name, dict) else name)
            for value, name in stored.items()
        }
    except (ValueError, KeyError, AttributeError) as error:
        raise DataError(
            f"the file cannot be read: {error}",
            rule="labels.json maps label values to names",
            where=str(path),
            remedy='write {"1": "liver", ...}',
            code="labels-unreadable",
        ) from error


def _ending(path: Path) -> str:
    return next((ending for ending in IMAGES if path.name.lower().endswith(ending)), "")


def _is_mask(path: Path) -> bool:
    return bool(_ending(path)) and not path.name.startswith("._")  # macOS lays these beside files


def _name(path: Path) -> str:
    """File name without its ending; names of structures may contain dots (``Lung.L``).

    Composed: macOS decomposes umlauts, other systems do not.
    """
    return unicodedata.normalize("NFC", path.name[: -len(_ending(path))])


def _named_once(names: Sequence[str], where: Path) -> None:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise DataError(
            f"the structure {twice[0]!r} occurs {names.count(twice[0])} times",
            rule="every structure of a side has a name of its own",
            where=str(where),
            remedy="rename one, or leave one out",
            code="structure-twice",
        )
