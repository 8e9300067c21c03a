"""The way back to files that other programs read; each appears whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from synthct.data.errors import MachineError, UsageError
from synthct.data.itk import displacement_to_itk, in_folder, to_itk
from synthct.data.volume import Displacement, Volume
from synthct.data.writers.nifti import add_exact_affine

SUFFIXES = (".mha", ".nii.gz", ".nii", ".nrrd")
"""File formats by suffix; ``.mha``, ``.nii.gz`` and ``.nrrd`` are written compressed."""


def write_image(path: Path, volume: Volume, *, compress: bool = True) -> None:
    """Write a volume in the format that the suffix names, replacing the file in one step.

    Voxels and places are kept exactly: NIfTI-1 holds its affine in 32 bits, so the exact one
    stands beside it (:mod:`synthct.data.exact_affine`). ``compress=False`` is for files that are
    read once and removed; ``.nii`` never is, ``.nii.gz`` always.
    """
    _write(to_itk(volume), path, compress)


def write_displacement_image(path: Path, displacement: Displacement) -> None:
    """Write a displacement as a vector image: ITK's order (x, y, z) [mm], LPS, float32."""
    _write(displacement_to_itk(displacement, np.float32), path, True)


def suffix_of(path: Path) -> str:
    """The one of ``SUFFIXES`` that the file name ends in; another raises."""
    for suffix in SUFFIXES:
        if path.name.lower().endswith(suffix):
            return suffix
    raise UsageError(
        "an image file ends in " + ", ".join(SUFFIXES),
        problem=f"the name {path.name} has another suffix",
        where=str(path),
        remedy="give the output another suffix",
        code="unknown-suffix",
    )


def _write(image: sitk.Image, path: Path, compress: bool) -> None:
    suffix = suffix_of(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
        # ITK picks the format from the name, so the temporary file keeps the suffix.
        building = Path(folder) / f"image{suffix}"
        nifti = suffix in (".nii", ".nii.gz")
        plain = Path(folder) / "plain.nii" if nifti else building
        try:
            with in_folder(Path(folder)) as spelled:
                sitk.WriteImage(image, f"{spelled}/{plain.name}", compress and not nifti)
            if nifti:
                _require_whole(plain, image, path)
                add_exact_affine(plain, image, building)
        except (RuntimeError, OSError) as error:  # RuntimeError: ITK's word for a full disk
            raise _unwritten(
                path, f"writing failed: {' '.join(str(error).split())[-120:]}"
            ) from error
        with building.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(building, path)


def _require_whole(file: Path, image: sitk.Image, path: Path) -> None:
    """ITK's NIfTI writer cuts a file short on a full disk and says nothing: count the bytes."""
    voxels = image.GetNumberOfPixels() * image.GetNumberOfComponentsPerPixel()
    expected, found = voxels * image.GetSizeOfPixelComponent(), file.stat().st_size
    if found < expected:
        raise _unwritten(path, f"only {found} of {expected} bytes were written")


def _unwritten(path: Path, problem: str) -> MachineError:
    return MachineError(
        "an image file is written completely",
        where=str(path),
        problem=problem,
        remedy="free disk space and run the same command again",
        code="disk-full",
    )
