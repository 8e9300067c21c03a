"""Which format a source has, and the reader of each that is a file of voxels."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

from synthct.data.errors import DataError
from synthct.data.readers.entries import entries
from synthct.data.readers.metaimage import read_metaimage, read_metaimage_header
from synthct.data.readers.nifti import read_nifti, read_nifti_header
from synthct.data.readers.nrrd import read_nrrd, read_nrrd_header
from synthct.data.readers.ome_zarr import is_ome_zarr, read_ome_zarr, read_ome_zarr_grid
from synthct.data.readers.slice_header import is_dicom
from synthct.data.volume import Grid, Modality, Volume

RAW: dict[str, Callable[[Path, Modality], Volume]] = {
    "nifti": read_nifti,
    "metaimage": read_metaimage,
    "nrrd": read_nrrd,
    "ome-zarr": read_ome_zarr,
}
"""Readers of the formats that do not state a modality."""

GRIDS: dict[str, Callable[[Path], Grid]] = {
    "nifti": lambda path: read_nifti_header(path).grid,
    "metaimage": lambda path: read_metaimage_header(path).grid,
    "nrrd": lambda path: read_nrrd_header(path).grid,
    "ome-zarr": read_ome_zarr_grid,
}
"""Readers of their geometry, without voxels."""

IMAGE_SUFFIXES = {
    ".nii": "nifti", ".nii.gz": "nifti", ".mha": "metaimage", ".mhd": "metaimage",
    ".nrrd": "nrrd", ".nhdr": "nrrd",
}  # fmt: skip
"""``.mhd`` and ``.nhdr`` are read where they hold their voxels; files that they
refer to are never opened."""


def format_of(path: Path) -> str:
    """``dicom``, ``nifti``, ``metaimage``, ``nrrd`` or ``ome-zarr``.

    By name, and by content for DICOM and OME-Zarr.
    """
    if path.is_dir():
        return "ome-zarr" if is_ome_zarr(path) else "dicom"
    if not path.is_file():
        raise DataError(
            "there is no such file or folder",
            rule="a scan is a file or a folder",
            where=str(path),
            remedy="check the path",
            code="no-file",
        )
    if kind := format_by_name(path.name):
        return kind
    if zipfile.is_zipfile(path) or is_dicom(entries(path)[0]):
        return "dicom"
    raise DataError(
        f"the suffix {path.suffix!r} is not that of a known format",
        where=str(path),
        rule="a scan is a DICOM folder or zip, .nii, .nii.gz, attached .mha or .nrrd, or OME-Zarr",
        remedy="convert it to one of these",
        code="unknown-format",
    )


def format_by_name(name: str) -> str | None:
    """The image format that a file name ends in; None for DICOM and everything else."""
    lowered = name.lower()
    return next((kind for end, kind in IMAGE_SUFFIXES.items() if lowered.endswith(end)), None)
