"""OME-Zarr 0.4 (zarr v2) and 0.5 (zarr v3) images, the finest level of the first multiscale.

Metadata: https://ngff.openmicroscopy.org/0.4/ and /0.5/. The format has no orientation before
RFC-4; without RFC-4 axes and our own attributes the axes z, y, x are taken to
increase to the head, the back and the left (LPS), as ITK's writers do.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synthct.data.errors import DataError, MachineError
from synthct.data.files import MANIFEST, file_sha256
from synthct.data.readers.checks import checked_shape, is_of_the_machine
from synthct.data.readers.entries import entries
from synthct.data.readers.header_facts import grid_from_json
from synthct.data.readers.process.memory import empty
from synthct.data.readers.zarr_chunks import (
    AIR_HU,
    Box,
    is_background,
    left_out,
    require_whole_blosc,
    unreadable_chunk,
)
from synthct.data.volume import Grid, Modality, Volume

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


def is_ome_zarr(folder: Path) -> bool:
    """Whether a folder is the group of an OME-Zarr image, or of several (bioformats2raw)."""
    try:
        if not folder.is_dir():
            return False
        attributes = _attributes(folder)
        return _multiscale(attributes) is not None or is_collection(attributes)
    except (DataError, OSError):
        return folder.suffix == ".zarr"


def read_ome_zarr_grid(folder: Path) -> Grid:
    """The grid of the image."""
    return _opened(image_folder(folder))[1]


def read_ome_zarr(folder: Path, modality: Modality) -> Volume:
    """Read and check an OME-Zarr image with one value a voxel."""
    _require_unchanged(folder)
    folder = image_folder(folder)
    array, grid, lead = _opened(folder)
    boxes = left_out(array)
    _require_air(folder, array, boxes, modality)
    require_whole_blosc(array)
    values = empty(grid.shape, array.dtype)
    step = max(1, int(array.chunks[lead]))
    for low in range(0, grid.shape[0], step):
        # Slab by slab: a second whole copy would double the memory.
        slab = (0,) * lead + (slice(low, low + step),)
        try:
            values[low : low + step] = np.asarray(array[slab])
        except Exception as error:  # each codec has its own
            if isinstance(error, MemoryError) or is_of_the_machine(error):
                raise
            raise _damaged(array, lead, low, error) from error
    values = values.astype(values.dtype.newbyteorder("="), copy=False)
    _require_background(folder, values, [box[lead:] for box in boxes], array, modality)
    return Volume(values, grid, modality)


def _require_air(folder: Path, array: Any, boxes: list[Box], modality: Modality) -> None:
    """Writers omit chunks that hold only the fill value: in HU that must be air.

    With the usual fill value, 0, a missing chunk would read as water.
    """
    if boxes and modality in (Modality.CT, Modality.CBCT) and not array.fill_value <= AIR_HU:
        raise _missing(folder, boxes, f"would read as {array.fill_value} HU")


def _require_background(
    folder: Path, values: NDArray[Any], boxes: list[Box], array: Any, modality: Modality
) -> None:
    """Require that missing chunks are in the background, not in the body."""
    listed = (folder / MANIFEST).is_file()  # a volume of our own: what is there was checked
    if not boxes or listed:
        return
    fill = float(array.fill_value or 0)
    above = fill  # of a mask or labels
    if modality in (Modality.CT, Modality.CBCT):
        above = fill + 300.0
    elif modality in (Modality.MR, Modality.DOSE):
        above = fill + 0.2 * (float(np.percentile(values, 99)) - fill)
    if not is_background(values, boxes, array.chunks[-3:], above=above, fill=fill):
        raise _missing(folder, boxes, "cut through the body")


def _missing(folder: Path, boxes: list[Box], what: str) -> DataError:
    return DataError(
        f"{len(boxes)} chunks were never written and {what}",
        where=str(folder),
        rule="an OME-Zarr image is complete: only chunks of background may be missing",
        remedy="copy it again; if its writer was stopped, write it again",
        code="missing-chunk",
    )


def _damaged(array: Any, axis: int, low: int, error: Exception) -> DataError:
    """The error of a chunk that cannot be decoded: cut short, or with wrong bytes."""
    return DataError(
        f"the chunk cannot be decoded ({type(error).__name__}: {str(error)[:120]})",
        where=unreadable_chunk(array, axis, low) or str(array.store_path),
        rule="every chunk of an OME-Zarr image has all its bytes",
        remedy="copy it again; if its writer was stopped, write it again",
        code="damaged-chunk",
    )


def image_folder(folder: Path) -> Path:
    """The group of the one image: itself, or the one that a bioformats2raw layout lists.

    https://ngff.openmicroscopy.org/0.4/#bf2raw: images in ``0``, ``1``, ..., or as in ``OME``.
    """
    if not is_collection(_attributes(folder)):
        return folder
    attributes = _attributes(folder / "OME")
    listed = attributes.get("series", _ome(attributes).get("series"))
    if not isinstance(listed, list):
        listed = [str(n) for n in range(MOST_IMAGES) if (folder / str(n)).is_dir()]
    if len(listed) != 1:
        raise DataError(
            f"{len(listed)} images: {', '.join(str(one)[:20] for one in listed[:5])}",
            where=str(folder),
            rule="a source of one scan holds one image",
            remedy="give the folder of one of them, for example " + str(folder / "0"),
            code="several-series" if listed else "no-series",
        )
    return folder / _below(folder, str(listed[0]))


MOST_IMAGES = 100


def is_collection(attributes: Mapping[str, Any]) -> bool:
    """Whether a group is the root of the layout that bioformats2raw writes."""
    return "bioformats2raw.layout" in {**attributes, **_ome(attributes)}


def _ome(attributes: Mapping[str, Any]) -> Mapping[str, Any]:
    ome = attributes.get("ome")
    return ome if isinstance(ome, Mapping) else {}


def _below(folder: Path, name: str) -> str:
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise _broken(
            folder, f"the array path {name[:60]!r} leads outside the image", "path-traversal"
        )
    return name


def _opened(folder: Path) -> tuple[Any, Grid, int]:
    """The array, its grid, and how many leading axes of one element it has."""
    entries(folder)  # links that lead outside raise
    attributes = _attributes(folder)
    multiscale = _multiscale(attributes)
    if multiscale is None:
        raise _broken(folder, "the image has no multiscales", "bad-header")
    axes = list(multiscale.get("axes") or [])
    names = [axis.get("name") for axis in axes]
    dataset = multiscale["datasets"][0]
    array = _array(folder, str(dataset["path"]))
    lead = len(names) - 3
    if names[-3:] != ["z", "y", "x"] or array.ndim != len(names) or lead < 0:
        raise _broken(
            folder,
            f"the axes {names} do not fit a {array.ndim}-dimensional array (z, y, x last)",
            "not-3d",
        )
    if any(size != 1 for size in array.shape[:lead]):
        raise _broken(
            folder, f"the image has {array.shape[:lead]} channels or time points", "not-3d"
        )
    shape = checked_shape(array.shape[lead:], array.dtype, str(folder))
    if array.dtype.kind not in "biuf":
        raise _broken(folder, f"the voxels are {array.dtype}, not numbers", "bad-header")
    return array, _grid(folder, attributes, multiscale, dataset, axes[-3:], shape), lead


def _grid(
    folder: Path,
    attributes: Mapping[str, Any],
    multiscale: Mapping[str, Any],
    dataset: Mapping[str, Any],
    axes: list[Any],
    shape: tuple[int, ...],
) -> Grid:
    own = attributes.get("synthct")
    if isinstance(own, Mapping) and list(own.get("shape", [])) == list(shape):
        return grid_from_json(own)
    scale, shift = np.ones(3), np.zeros(3)
    for transformations in (dataset, multiscale):
        for one in transformations.get("coordinateTransformations") or []:
            numbers = np.array(one.get(one.get("type"), []), dtype=float)[-3:]
            if one.get("type") not in ("scale", "translation") or numbers.size != 3:
                raise _broken(
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
        raise _broken(folder, f"the unit of length {str(unit)[:30]!r} is unknown", "bad-header")
    return _MILLIMETRES[unit]


def _growing(folder: Path, axis: Mapping[str, Any]) -> int:
    orientation = axis.get("orientation", axis.get("anatomicalOrientation"))
    if orientation is None:
        return 1
    value = orientation.get("value") if isinstance(orientation, Mapping) else orientation
    known = _GROWING[str(axis["name"])]
    if value not in known:
        raise _broken(
            folder,
            f"the orientation {str(value)[:40]!r} of axis {axis['name']} is unknown",
            "bad-header",
        )
    return known[str(value)]


def _attributes(folder: Path) -> dict[str, Any]:
    for name in ("zarr.json", ".zattrs"):
        file = folder / name
        if not file.is_file():
            continue
        if file.stat().st_size > MAX_METADATA_BYTES:
            raise _broken(
                folder,
                f"{name} has {file.stat().st_size} bytes, too many for metadata",
                "too-large",
            )
        try:
            found = json.loads(file.read_bytes())
        except (ValueError, RecursionError) as error:
            raise _broken(folder, f"{name} is not JSON", "bad-header") from error
        attributes = found.get("attributes") if name == "zarr.json" else found
        return dict(attributes) if isinstance(attributes, Mapping) else {}
    return {}


def _multiscale(attributes: Mapping[str, Any]) -> dict[str, Any] | None:
    ome = attributes.get("ome", attributes)
    found = ome.get("multiscales") if isinstance(ome, Mapping) else None
    first = found[0] if isinstance(found, list) and found else None
    return dict(first) if isinstance(first, Mapping) and first.get("datasets") else None


def _array(folder: Path, name: str) -> Any:
    name = _below(folder, name)
    try:
        import zarr
    except ImportError as error:
        raise MachineError(
            "zarr is not installed",
            rule="OME-Zarr needs the package zarr",
            where=str(folder),
            remedy="pip install '.[train]'",
            code="no-zarr",
        ) from error
    return zarr.open_array(store=str(folder / name), mode="r")


def _require_unchanged(folder: Path) -> None:
    """A volume that this project stored has the hashes of its manifest."""
    manifest = folder / MANIFEST
    if not manifest.is_file():
        return
    files = json.loads(manifest.read_bytes()).get("files", {})
    for name, entry in files.items():
        file = folder / name
        if ".." in Path(name).parts or not file.is_file():
            raise _broken(folder, f"the file {name[:60]!r} is missing", "damaged")
        if file_sha256(file) != entry["sha256"]:
            raise _broken(
                folder, f"the file {name[:60]!r} has other bytes than were written", "damaged"
            )


def _broken(folder: Path, problem: str, code: str) -> DataError:
    return DataError(
        problem,
        where=str(folder),
        rule="an OME-Zarr image is complete and describes one scan",
        remedy="copy it again, or convert it to .mha",
        code=code,
    )
