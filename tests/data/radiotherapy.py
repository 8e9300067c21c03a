"""Structure sets and doses made for tests."""

from __future__ import annotations

import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid


def saved(path, dataset, sop_class, **about):
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = sop_class
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = generate_uid(), generate_uid()
    for keyword, value in about.items():
        setattr(dataset, keyword, value)
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)
    return path


def structure_set(path, structures, *, series="", frame="", **about):
    """``{name: [points (n, 3) in (x, y, z) mm, ...]}``, drawn on the series; one RTSTRUCT file."""
    dataset = Dataset()
    dataset.Modality = "RTSTRUCT"
    dataset.StructureSetROISequence, dataset.ROIContourSequence = [], []
    for number, (name, contours) in enumerate(structures.items()):
        roi = Dataset()
        roi.ROINumber, roi.ROIName = number, name
        dataset.StructureSetROISequence.append(roi)
        outline = Dataset()
        outline.ReferencedROINumber, outline.ContourSequence = number, []
        for points in contours:
            contour = Dataset()
            contour.ContourGeometricType = "CLOSED_PLANAR"
            contour.NumberOfContourPoints = len(points)
            contour.ContourData = [f"{value:.4f}" for value in np.ravel(points)]
            outline.ContourSequence.append(contour)
        dataset.ROIContourSequence.append(outline)
    if series or frame:
        image, study, place = Dataset(), Dataset(), Dataset()
        image.SeriesInstanceUID = series
        study.RTReferencedSeriesSequence = [image]
        place.FrameOfReferenceUID, place.RTReferencedStudySequence = frame, [study]
        dataset.ReferencedFrameOfReferenceSequence = [place]
    return saved(path, dataset, "1.2.840.10008.5.1.4.1.1.481.3", **about)


def square(low, high, z):
    return [(low, low, z), (high, low, z), (high, high, z), (low, high, z)]


def dose_file(path, values, *, direction=(1, 0, 0, 0, 1, 0), step=2.5, **changes):
    dataset = Dataset()
    dataset.Modality = "RTDOSE"
    frames, dataset.Rows, dataset.Columns = values.shape
    dataset.NumberOfFrames = frames
    dataset.ImagePositionPatient = [-10.0, 20.0, 30.0]
    dataset.ImageOrientationPatient = list(direction)
    dataset.PixelSpacing = [1.5, 2.0]
    dataset.GridFrameOffsetVector = [step * number for number in range(frames)]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 32
    dataset.HighBit, dataset.PixelRepresentation = 31, 0
    dataset.DoseUnits, dataset.DoseType, dataset.DoseGridScaling = "GY", "PHYSICAL", "1e-5"
    dataset.PixelData = values.astype("<u4").tobytes()
    dataset["PixelData"].VR = "OW"
    for keyword, value in changes.items():
        setattr(dataset, keyword, value)
    return saved(path, dataset, "1.2.840.10008.5.1.4.1.1.481.2")
