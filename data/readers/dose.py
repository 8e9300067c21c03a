"""Dose distributions: DICOM RTDOSE, or an image whose values are Gy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

from data.faults import DataFault
from data.readers import read_scan
from data.readers.faults_only import faults_only
from data.volume import Grid, Matrix, Modality, Volume

IMAGES = (".nii", ".nii.gz", ".mha", ".nrrd")


def read_dose(path: Path) -> Volume:
    """Dose [Gy] (Z, Y, X) of an RTDOSE file or of an image (NIfTI, MHA, NRRD) in Gy.

    RTDOSE in relative units, or with frames that are not evenly spaced, is a fault.
    """
    if path.name.lower().endswith(IMAGES):
        volume = read_scan(path, Modality.DOSE)
        return volume.with_array(volume.array.astype(np.float64))
    with faults_only(str(path)):
        return _rtdose(path)


def _rtdose(path: Path) -> Volume:
    if not path.is_file():
        raise DataFault("the dose exists", where=str(path), got="no file", code="no-file")
    try:
        told = pydicom.dcmread(path)
    except InvalidDicomError:
        raise _not_a_dose(path, path.suffix or "no suffix") from None
    if told.get("Modality") != "RTDOSE":
        raise _not_a_dose(path, f"DICOM {told.get('Modality', 'without a modality')}")
    if told.get("DoseUnits") != "GY":
        raise DataFault(
            "a dose is in Gy",
            where=str(path),
            got=f"DoseUnits {told.get('DoseUnits', 'absent')}",
            remedy="export the dose in absolute units",
            code="dose-relative",
        )
    frames = np.asarray(told.pixel_array, dtype=np.float64)
    array = frames.reshape(-1, *frames.shape[-2:]) * float(told.DoseGridScaling)
    return Volume(array, _grid(told, array.shape, path), Modality.DOSE)


def _grid(told: Dataset, shape: tuple[int, ...], path: Path) -> Grid:
    offsets = np.asarray(told.get("GridFrameOffsetVector", [0.0] * shape[0]), dtype=float)
    steps = np.diff(offsets)
    if len(offsets) != shape[0] or (
        len(steps) and (np.ptp(steps) > 1e-3 or np.abs(steps[0]) < 1e-6)
    ):
        raise DataFault(
            "the frames of a dose are evenly spaced",
            where=str(path),
            got=f"GridFrameOffsetVector {offsets[:4].tolist()} ... for {shape[0]} frames",
            remedy="export the dose on a regular grid",
            code="dose-uneven",
        )
    step = float(steps[0]) if len(steps) else 1.0
    row, column = np.reshape(np.asarray(told.ImageOrientationPatient, float), (2, 3))
    normal = np.cross(row, column) * np.sign(step)
    # DICOM gives (x, y, z); `row` is the direction in which the column index, array axis 2, grows.
    axes = np.stack([normal, column, row], axis=1)[::-1]
    x, y, z = (float(v) for v in told.ImagePositionPatient)
    down, right = (float(v) for v in told.PixelSpacing)
    matrix: Matrix = tuple(tuple(float(v) for v in line) for line in axes)  # type: ignore[assignment]
    return Grid((shape[0], shape[1], shape[2]), (abs(step), down, right), (z, y, x), matrix)


def _not_a_dose(path: Path, got: str) -> DataFault:
    return DataFault(
        "a dose is a DICOM RTDOSE file, or .nii, .nii.gz, .mha or .nrrd in Gy",
        where=str(path),
        got=got,
        remedy="export it as one of these",
        code="not-a-dose",
    )
