#!/usr/bin/env bash
# dcmrtstruct2nii draws contours from below a scan at its top and erases those that share a slice.
#
# Versions: dcmrtstruct2nii 5, pydicom 2.4.4, SimpleITK 2.5.5, NumPy 2.4.3.
# Expected: structures outlined on a planning CT are drawn on a shorter, coarser scan of the same
#   frame of reference (a cone-beam CT). Contours outside the scan are left out, a slice between two
#   outlined planes is filled, and contours of type CLOSEDPLANAR_XOR are drawn.
# Behaviour: a negative slice number counts from the top, as NumPy does: a bladder that reaches 6 mm
#   below the scan fills the three topmost slices too. Contours of different planes that are nearest
#   to one slice are combined by exclusive or: outlined every 1 mm and drawn on slices of 2 mm, a
#   structure keeps its two ends and loses what is between them. Contours of type CLOSEDPLANAR_XOR,
#   the only ones that should be combined in this way, are skipped: the mask is empty. There is no
#   warning.
# For us: masks from this program are wrong. Give synthct the structure set: its reader has none of
#   these errors (tests/data/test_radiotherapy.py).
# Source: https://dicom.nema.org/medical/dicom/current/output/chtml/part03/sect_C.8.8.6.3.html
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    dcmrtstruct2nii==5 pydicom==2.4.4 SimpleITK==2.5.5 numpy==2.4.3
"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import sys
from pathlib import Path

import SimpleITK as sitk
from dcmrtstruct2nii import dcmrtstruct2nii
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, RTStructureSetStorage, generate_uid

folder = Path(sys.argv[1])
STUDY, SERIES, FRAME = generate_uid(), generate_uid(), generate_uid()


def some(**elements):
    dataset = Dataset()
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    return dataset


def save(path, kind, dataset):
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = kind
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset.PatientName = dataset.PatientID = "phantom"
    dataset.StudyInstanceUID, dataset.FrameOfReferenceUID = STUDY, FRAME
    dataset.is_little_endian, dataset.is_implicit_VR = True, False
    path.parent.mkdir(exist_ok=True)
    dataset.save_as(path, write_like_original=False)
    return dataset.SOPInstanceUID


# Ten slices of 20 x 20 voxels at z = 0, 2, ..., 18 mm.
slices = [
    save(folder / "scan" / f"{number}.dcm", CTImageStorage, some(
        Modality="CT", SeriesInstanceUID=SERIES, SeriesNumber=1, InstanceNumber=number + 1,
        ImagePositionPatient=[0, 0, 2 * number], ImageOrientationPatient=[1, 0, 0, 0, 1, 0],
        PixelSpacing=[1, 1], SliceThickness=2, Rows=20, Columns=20, SamplesPerPixel=1,
        PhotometricInterpretation="MONOCHROME2", BitsAllocated=16, BitsStored=16, HighBit=15,
        PixelRepresentation=1, RescaleIntercept=0, RescaleSlope=1, PixelData=bytes(800),
    ))
    for number in range(10)
]  # fmt: skip
outlined = {  # where each structure has a square of 25 voxels [mm], and the contours' type
    "bladder": ([-6, -4, -2, 0, 2], "CLOSED_PLANAR"),
    "prostate": ([4.2, 5.2, 6.2, 7.2, 8.2, 9.2, 10.2, 11.2], "CLOSED_PLANAR"),
    "rectum": ([6, 8, 10], "CLOSEDPLANAR_XOR"),
}
images = [some(ReferencedSOPClassUID=CTImageStorage, ReferencedSOPInstanceUID=uid)
          for uid in slices]  # fmt: skip
series = some(SeriesInstanceUID=SERIES, ContourImageSequence=images)
study = some(ReferencedSOPClassUID="1.2.840.10008.3.1.2.3.1", ReferencedSOPInstanceUID=STUDY,
             RTReferencedSeriesSequence=[series])  # fmt: skip
rois, contours, observations = [], [], []
for number, (name, (places, kind)) in enumerate(outlined.items(), start=1):
    rois.append(some(ROINumber=number, ROIName=name, ReferencedFrameOfReferenceUID=FRAME,
                     ROIGenerationAlgorithm="MANUAL"))  # fmt: skip
    contours.append(some(ReferencedROINumber=number, ContourSequence=[
        some(ContourGeometricType=kind, NumberOfContourPoints=4,
             ContourData=[4.5, 4.5, z, 9.5, 4.5, z, 9.5, 9.5, z, 4.5, 9.5, z])
        for z in places
    ]))  # fmt: skip
    observations.append(some(ObservationNumber=number, ReferencedROINumber=number,
                             RTROIInterpretedType="ORGAN", ROIInterpreter=""))  # fmt: skip
save(folder / "structures.dcm", RTStructureSetStorage, some(
    Modality="RTSTRUCT", SeriesInstanceUID=generate_uid(), StructureSetLabel="plan",
    StructureSetDate="", StructureSetTime="", StructureSetROISequence=rois,
    ROIContourSequence=contours, RTROIObservationsSequence=observations,
    ReferencedFrameOfReferenceSequence=[
        some(FrameOfReferenceUID=FRAME, RTReferencedStudySequence=[study])
    ],
))  # fmt: skip
dcmrtstruct2nii(str(folder / "structures.dcm"), str(folder / "scan"), str(folder / "masks"))
found = {}
for name in outlined:
    mask = sitk.GetArrayFromImage(sitk.ReadImage(str(folder / "masks" / f"mask_{name}.nii.gz")))
    found[name] = (mask > 0).sum(axis=(1, 2)).tolist()
    print(f"{name}: voxels in the slices from bottom to top: {found[name]}")
# Right would be [25, 25, 0 ...], 25 in slices 2 to 5 at least, and 25 in slices 3 to 5.
assert found["bladder"] == [25, 25, 0, 0, 0, 0, 0, 25, 25, 25], "this has changed"
assert found["prostate"] == [0, 0, 25, 0, 0, 0, 25, 0, 0, 0], "this has changed"
assert found["rectum"] == [0] * 10, "this has changed"
PYTHON
