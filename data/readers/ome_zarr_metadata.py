"""The metadata of OME-Zarr 0.4 (zarr v2) and 0.5 (zarr v3): which image, and its grid.

https://ngff.openmicroscopy.org/0.4/ and /0.5/. The format has no orientation before RFC-4;
without RFC-4 axes and our own attributes the axes z, y, x are taken to increase to the head, the
back and the left (LPS), as ITK's writers do.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from synthct.data.errors import DataError
from synthct.data.readers.header_facts import grid_from_json
from synthct.data.volume import Grid

MAX_METADATA_BYTES = 1 << 24

_MILLIMETRES = {
    "millimeter": 1.0, "micrometer": 1e-3, "nanometer": 1e-6, "centimeter": 10.0,
    "decimeter": 100.0, "meter": 1000.0, None: 1.0,
    "mm": 1.0, "um": 1e-3, "\N{MICRO SIGN}m": 1e-3, "nm": 1e-6, "cm": 10.0,
}  # fmt: skip
"""Names of UDUNITS-2, and the symbols that some writers give instead."""
_GROWING = {
    "z": {"inferior-to-superior": 1, "superior-to-inferior": -1},
    "y": {"anterior-to-posterior": 1, "posterior-to-anterior": -1},
    "x": {"right-to-left": 1, "left-to-right": -1},
}
"""RFC-4 anatomical orientations along which our (z, y, x) axes grow or shrink."""


def image_folder(folder: Path) -> Path:
    """The group of the one image: itself, or the one that a bioformats2raw layout lists.

    https://ngff.openmicroscopy.org/0.4/#bf2raw: images in ``0``, ``1``, ..., or as in ``OME``.
    """
    if not is_collection(attributes_of(folder)):
        return folder
    attributes = attributes_of(folder / "OME")
    listed = attributes.get("series", _ome(attributes).get("series"))
    if not isinstance(listed, list):
        listed = [str(n) for n in range(MAX_IMAGES) if (folder / str(n)).is_dir()]
    if len(listed) != 1:
        raise DataError(
            f"{len(listed)} images: {', '.join(str(one)[:20] for one in listed[:5])}",
            where=str(folder),
            rule="a source of one scan holds one image",
            remedy="give the folder of one of them, for example " + str(folder / "0"),
            code="several-series" if listed else "no-series",
        )
    return folder / below(folder, str(listed[0]))


MAX_IMAGES = 100


def is_collection(attributes: Mapping[str, Any]) -> bool:
    """Whether a group is the root of the layout that bioformats2raw writes."""
    return "bioformats2raw.layout" in {**attributes, **_ome(attributes)}


def _ome(attributes: Mapping[str, Any]) -> Mapping[str, Any]:
    ome = attributes.get("ome")
    return ome if isinstance(ome, Mapping) else {}


def below(folder: Path, name: str) -> str:
    """The path of an array or image inside ``folder``; one that leads outside raises."""
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise not_whole(
            folder, f"the array path {name[:60]!r} leads outside the image", "path-traversal"
        )
    return name


def grid_of(
    folder: Path,
    attributes: Mapping[str, Any],
    multiscale: Mapping[str, Any],
    dataset: Mapping[str, Any],
    axes: list[Any],
    shape: tuple[int, ...],
) -> Grid:
    """The grid of one level: our own record of it, or the scales, translations and axes."""
    own = attributes.get("synthct")
    if isinstance(own, Mapping) and list(own.get("shape", [])) == list(shape):
        return grid_from_json(own)
    scale, shift = np.ones(3), np.zeros(3)
    for transformations in (dataset, multiscale):
        for one in transformations.get("coordinateTransformations") or []:
            numbers = np.array(one.get(one.get("type"), []), dtype=float)[-3:]
            if one.get("type") not in ("scale", "translation") or numbers.size != 3:
                raise not_whole(
                    folder, f"the transformation {str(one)[:60]} is not supported", "bad-header"
                )
            if one["type"] == "scale":
                scale, shift = scale * numbers, shift * numbers
            else:
                shift = shift + numbers
    units = np.array([_millimetres(folder, axis) for axis in axes])
    signs = np.array([_growing(folder, axis) for axis in axes], dtype=float)
    rows = [tuple(float(v) for v in row) for row in np.diag(signs)]
    spacing = tuple(float(v) for v in scale * units)
    # The translation is along the axis as it grows; the grid's origin is a point in the patient.
    origin = tuple(float(v) for v in shift * units * signs)
    return Grid((shape[0], shape[1], shape[2]), spacing, origin, tuple(rows))  # type: ignore[arg-type]


def _millimetres(folder: Path, axis: Mapping[str, Any]) -> float:
    unit = axis.get("unit")
    if unit not in _MILLIMETRES:
        raise not_whole(folder, f"the unit of length {str(unit)[:30]!r} is unknown", "bad-header")
    return _MILLIMETRES[unit]


def _growing(folder: Path, axis: Mapping[str, Any]) -> int:
    orientation = axis.get("orientation", axis.get("anatomicalOrientation"))
    if orientation is None:
        return 1
    value = orientation.get("value") if isinstance(orientation, Mapping) else orientation
    known = _GROWING[str(axis["name"])]
    if value not in known:
        raise not_whole(
            folder,
            f"the orientation {str(value)[:40]!r} of axis {axis['name']} is unknown",
            "bad-header",
        )
    return known[str(value)]


def attributes_of(folder: Path) -> dict[str, Any]:
    """The attributes of a group, of zarr v3 or v2; empty where it has none."""
    for name in ("zarr.json", ".zattrs"):
        file = folder / name
        if not file.is_file():
            continue
        if file.stat().st_size > MAX_METADATA_BYTES:
            raise not_whole(
                folder,
                f"{name} has {file.stat().st_size} bytes, too many for metadata",
                "too-large",
            )
        try:
            found = json.loads(file.read_bytes())
        except (ValueError, RecursionError) as error:
            raise not_whole(folder, f"{name} is not JSON", "bad-header") from error
        attributes = found.get("attributes") if name == "zarr.json" else found
        return dict(attributes) if isinstance(attributes, Mapping) else {}
    return {}


def multiscale_of(attributes: Mapping[str, Any]) -> dict[str, Any] | None:
    """The first multiscale with levels; None where there is none."""
    ome = attributes.get("ome", attributes)
    found = ome.get("multiscales") if isinstance(ome, Mapping) else None
    first = found[0] if isinstance(found, list) and found else None
    return dict(first) if isinstance(first, Mapping) and first.get("datasets") else None


def not_whole(folder: Path, problem: str, code: str) -> DataError:
    """The error of an image that lacks something or describes more than one scan."""
    return DataError(
        problem,
        where=str(folder),
        rule="an OME-Zarr image is complete and describes one scan",
        remedy="copy it again, or convert it to .mha",
        code=code,
    )
