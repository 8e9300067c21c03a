#!/usr/bin/env bash
# pymedphys shifts a dose whose planes are given as the patient's z by the z of its first plane.
#
# Versions: pymedphys 0.41.0, pydicom 3.0.2, SciPy 1.17.1, NumPy 2.4.3; Python 3.11 or 3.12.
# Expected: Grid Frame Offset Vector holds distances from the first plane, or the z of each plane
#   in the patient; the standard allows both and tells them apart by the first value. One dose
#   written in both ways is read at one place, and its gamma against itself is 0 everywhere.
# Behaviour: `zyx_and_dose_from_dataset` adds the z of the first plane to either. The second dose
#   lies 10 mm higher (and would lie 500 mm higher in a scan that begins at 500 mm), without a
#   warning. `pymedphys.gamma`, 3 %/3 mm, of the dose against itself fails in seven voxels of ten.
# For us: whether a dose on a synthetic CT seems right would depend on how the planning system
#   writes offsets. The reader of synthct distinguishes the two and passes the positions to
#   pymedphys (test_offsets_may_be_the_patients_z in tests/data/test_radiotherapy.py).
# Source: https://dicom.nema.org/medical/dicom/current/output/chtml/part03/sect_C.8.8.3.2.html
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    pymedphys==0.41.0 pydicom==3.0.2 scipy==1.17.1 numpy==2.4.3
"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import sys
from pathlib import Path

import numpy as np
import pydicom
import pymedphys
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ImplicitVRLittleEndian, RTDoseStorage, generate_uid

folder = Path(sys.argv[1])
along = np.linspace(-20, 20, 17)
distance = np.sqrt(sum(axis**2 for axis in np.meshgrid(along, along, along, indexing="ij")))
stored = np.round(60_000 * np.exp(-(distance**2) / 200)).astype("<u4")  # 60 Gy in the middle
frame = generate_uid()


def dose(name, offsets):
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = RTDoseStorage
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = generate_uid(), generate_uid()
    dataset.FrameOfReferenceUID, dataset.Modality = frame, "RTDOSE"
    dataset.NumberOfFrames, dataset.Rows, dataset.Columns = stored.shape
    dataset.ImagePositionPatient = [-20, -20, 10]
    dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    dataset.PixelSpacing = [2.5, 2.5]
    dataset.FrameIncrementPointer = pydicom.tag.Tag("GridFrameOffsetVector")
    dataset.GridFrameOffsetVector = offsets.tolist()
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 32, 32, 31
    dataset.PixelRepresentation, dataset.PixelData = 0, stored.tobytes()
    dataset.DoseUnits, dataset.DoseType, dataset.DoseSummationType = "GY", "PHYSICAL", "PLAN"
    dataset.DoseGridScaling = "0.001"
    dataset.save_as(folder / name, enforce_file_format=True)
    axes, values = pymedphys.dicom.zyx_and_dose_from_dataset(pydicom.dcmread(folder / name))
    plane = int(values.max(axis=(1, 2)).argmax())
    print(f"{name}: z {axes[0][0]} to {axes[0][-1]} mm, highest dose at {axes[0][plane]} mm")
    return axes, values


def passing(reference, evaluated):
    """Share of voxels above 10 % of the dose whose gamma is at most 1."""
    gamma = pymedphys.gamma(
        *reference, *evaluated, 3, 3, lower_percent_dose_cutoff=10, max_gamma=2,
        interp_algo="scipy",
    )
    return float(np.mean(gamma[reference[1] >= 6] <= 1))


steps = 2.5 * np.arange(17)
relative = dose("distances.dcm", steps)
absolute = dose("places.dcm", 10 + steps)
same, written_otherwise = passing(relative, relative), passing(relative, absolute)
print(f"gamma of the dose against itself passes in {same:.0%},")
print(f"written in the other way in {written_otherwise:.0%}")
assert np.array_equal(relative[1], absolute[1])
assert (relative[0][0][0], absolute[0][0][0]) == (10.0, 20.0), "places are told apart now"
assert same == 1.0
assert written_otherwise < 0.5
PYTHON
