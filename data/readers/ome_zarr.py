"""The voxels of OME-Zarr images, of the finest level of the first multiscale."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synthct.data.errors import DataError, MachineError
from synthct.data.files import MANIFEST, file_sha256
from synthct.data.readers.checks import checked_shape, is_of_the_machine
from synthct.data.readers.entries import entries
from synthct.data.readers.ome_zarr_metadata import (
    attributes_of,
    below,
    grid_of,
    image_folder,
    is_collection,
    multiscale_of,
    not_whole,
)
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


def is_ome_zarr(folder: Path) -> bool:
    """Whether a folder is the group of an OME-Zarr image, or of several (bioformats2raw)."""
    try:
        if not folder.is_dir():
            return False
        attributes = attributes_of(folder)
        return multiscale_of(attributes) is not None or is_collection(attributes)
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
    listed = (folder / MANIFEST).is_file()  # a volume of our own, already verified
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


def _opened(folder: Path) -> tuple[Any, Grid, int]:
    """The array, its grid, and how many leading axes of one element it has."""
    entries(folder)  # links that lead outside raise
    attributes = attributes_of(folder)
    multiscale = multiscale_of(attributes)
    if multiscale is None:
        raise not_whole(folder, "the image has no multiscales", "bad-header")
    axes = list(multiscale.get("axes") or [])
    names = [axis.get("name") for axis in axes]
    dataset = multiscale["datasets"][0]
    array = _array(folder, str(dataset["path"]))
    lead = len(names) - 3
    if names[-3:] != ["z", "y", "x"] or array.ndim != len(names) or lead < 0:
        raise not_whole(
            folder,
            f"the axes {names} do not fit a {array.ndim}-dimensional array (z, y, x last)",
            "not-3d",
        )
    if any(size != 1 for size in array.shape[:lead]):
        raise not_whole(
            folder, f"the image has {array.shape[:lead]} channels or time points", "not-3d"
        )
    shape = checked_shape(array.shape[lead:], array.dtype, str(folder))
    if array.dtype.kind not in "biuf":
        raise not_whole(folder, f"the voxels are {array.dtype}, not numbers", "bad-header")
    return array, grid_of(folder, attributes, multiscale, dataset, axes[-3:], shape), lead


def _array(folder: Path, name: str) -> Any:
    name = below(folder, name)
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
            raise not_whole(folder, f"the file {name[:60]!r} is missing", "damaged")
        if file_sha256(file) != entry["sha256"]:
            raise not_whole(
                folder, f"the file {name[:60]!r} has other bytes than were written", "damaged"
            )
