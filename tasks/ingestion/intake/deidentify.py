"""De-identified copies: nothing is removed from the original, a few facts are taken from it.

A whitelist (geometry, pixels, rescale, acquisition facts, maker and model) instead of a blacklist:
what is not listed here, known or unknown, private or not, cannot come through. Follows the intent
of DICOM PS3.15 Annex E; dates are left out rather than shifted.
"""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian

from data.files import whole_folder
from data.readers.dicom import stored_pixels, whole_dataset
from data.readers.series import CONE_BEAM, Series, Slice
from data.readers.slices import stack
from data.volume import Modality, Volume
from data.writers import write_image
from data.writers.dicom import CBCT_MODEL, IMPLEMENTATION_UID
from tasks.ingestion.intake.pseudonym import Pseudonyms

METHOD = "synthct whitelist: geometry, pixels and acquisition facts only"

NUMBERS = (
    "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness",
    "SpacingBetweenSlices", "RescaleSlope", "RescaleIntercept", "RepetitionTime", "EchoTime",
    "InversionTime", "FlipAngle", "MagneticFieldStrength", "EchoTrainLength", "KVP",
    "GantryDetectorTilt", "ReconstructionDiameter",
)  # fmt: skip
"""Numeric elements that are copied."""

WORDS = (
    "Manufacturer", "ManufacturerModelName", "ScanningSequence", "SequenceVariant",
    "MRAcquisitionType", "ConvolutionKernel", "BodyPartExamined", "PatientPosition",
)  # fmt: skip
"""Texts that are copied, unless they hold a word of an identifying element."""

_UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID")

_PLAIN = re.compile(r"[A-Za-z0-9 ._/\\+-]{1,64}")


def copy_series(
    series: Series, folder: Path, patient: str, modality: Modality, names: Pseudonyms
) -> None:
    """Write the series as ``0000.dcm`` ... in slice order, with the pseudonym as patient."""
    slices = stack(series, patient).slices
    with whole_folder(folder) as building:
        for number, one in enumerate(slices):
            clean = clean_slice(one, patient, modality, names)
            clean.InstanceNumber = number + 1
            clean.save_as(building / f"{number:04d}.dcm", enforce_file_format=True)


def clean_slice(one: Slice, patient: str, modality: Modality, names: Pseudonyms) -> Dataset:
    """A new data set that holds the whitelisted facts of one slice and nothing else."""
    source = whole_dataset(one)
    clean = Dataset()
    clean.SpecificCharacterSet = "ISO_IR 192"
    clean.SOPClassUID = source.SOPClassUID
    clean.Modality = str(source.Modality).upper()
    clean.ImageType = ["DERIVED", "PRIMARY", "AXIAL"]
    clean.PatientName = clean.PatientID = patient
    clean.PatientBirthDate = clean.PatientSex = ""
    clean.PatientIdentityRemoved, clean.DeidentificationMethod = "YES", METHOD
    for keyword in ("StudyDate", "StudyTime", "AccessionNumber", "ReferringPhysicianName",
                    "StudyID", "SeriesNumber", "PositionReferenceIndicator"):  # fmt: skip
        setattr(clean, keyword, None)
    for keyword in _UIDS:
        if source.get(keyword):
            setattr(clean, keyword, names.uid(str(source.get(keyword))))
    _copy_numbers(source, clean)
    _copy_words(source, clean, identifying_words(source))
    if modality is Modality.CBCT and not CONE_BEAM.search(clean.get("ManufacturerModelName", "")):
        clean.ManufacturerModelName = CBCT_MODEL
    _copy_pixels(one, clean)
    clean.file_meta = _file_meta(clean)
    return clean


def copy_volume(volume: Volume, path: Path) -> None:
    """Voxels and geometry only, as a new file; header texts of the source stay behind."""
    write_image(path, volume)


def _copy_numbers(source: Dataset, clean: Dataset) -> None:
    for keyword in NUMBERS:
        found = source.get(keyword)
        if found is None or found == "":
            continue
        single = isinstance(found, str) or not hasattr(found, "__iter__")
        try:
            numbers = [float(part) for part in ([found] if single else found)]
        except (TypeError, ValueError):
            continue
        if np.isfinite(numbers).all():
            setattr(clean, keyword, found)


def _copy_words(source: Dataset, clean: Dataset, forbidden: frozenset[str]) -> None:
    for keyword in WORDS:
        found = source.get(keyword)
        parts = [found] if isinstance(found, str) else list(found or [])
        texts = [str(part) for part in parts if str(part)]
        if texts and all(_harmless(text, forbidden) for text in texts):
            setattr(clean, keyword, texts if len(texts) > 1 else texts[0])


def _harmless(text: str, forbidden: frozenset[str]) -> bool:
    lowered = text.lower()
    return bool(_PLAIN.fullmatch(text)) and not any(word in lowered for word in forbidden)


def identifying_words(source: Dataset) -> frozenset[str]:
    """Words of three letters or more in the elements that name people and places."""
    words: set[str] = set()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # values longer than their VR allows
        for element in source.iterall():
            if element.VR == "PN" or element.keyword in _IDENTIFYING:
                parts = re.split(r"[^\w]+", str(element.value or "").lower())
                words |= {part for part in parts if len(part) > 2}
    return frozenset(words - _COMMON)


_IDENTIFYING = frozenset(
    {"PatientID", "OtherPatientIDs", "IssuerOfPatientID", "AccessionNumber", "InstitutionName",
     "StationName", "InstitutionAddress", "InstitutionalDepartmentName", "DeviceSerialNumber",
     "PatientAddress", "PatientTelephoneNumbers", "PatientBirthDate"}
)  # fmt: skip
_COMMON = frozenset({"medical", "systems", "healthcare", "radiology", "oncology"})


def _copy_pixels(one: Slice, clean: Dataset) -> None:
    pixels = stored_pixels(one)
    clean.SamplesPerPixel, clean.PhotometricInterpretation = 1, "MONOCHROME2"
    clean.Rows, clean.Columns = pixels.shape
    bits = pixels.dtype.itemsize * 8
    clean.BitsAllocated = clean.BitsStored = bits
    clean.HighBit = bits - 1
    clean.PixelRepresentation = int(pixels.dtype.kind == "i")
    data = np.ascontiguousarray(pixels, dtype=pixels.dtype.newbyteorder("<")).tobytes()
    clean.PixelData = data + b"\0" * (len(data) % 2)
    clean["PixelData"].VR = "OW" if bits > 8 else "OB"


def _file_meta(clean: Dataset) -> FileMetaDataset:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = clean.SOPClassUID
    meta.MediaStorageSOPInstanceUID = clean.SOPInstanceUID
    meta.ImplementationClassUID = UID(IMPLEMENTATION_UID)
    meta.ImplementationVersionName = "SYNTHCT"
    return meta
