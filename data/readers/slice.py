"""One slice of a DICOM series: a file, or a frame of an enhanced multi-frame file.

Each frame gets the header that a classic slice would have, from the functional groups (PS3.3
C.7.6.16; enhanced CT A.38, enhanced MR A.36).
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import Dataset

from synthct.data.errors import DataError
from synthct.data.readers.entries import Entry

SAME_NUMBER = 1e-6
"""Relative difference of one number written with more or fewer decimals."""


@dataclass(frozen=True, eq=False)
class Slice:
    """One file of a series, or one frame of it: where it is and its header (without pixels)."""

    entry: Entry
    header: Dataset
    offset: int = 0
    """Where the pixel element starts in the file."""
    frame: int = 0
    """Which frame of a multi-frame file this is, from 0."""


def value(header: Dataset, keyword: str, entry: Entry) -> Any:
    """A value that must be there and not empty."""
    found = header.get(keyword)
    if found is None or found == "":
        raise broken_dicom(entry, f"the element {keyword} is missing", "missing-tag")
    return found


def same_value(found: Any, other: Any) -> bool:
    """Equal as text or, for spacings, as numbers: ``4`` equals ``4.000000``.

    Spaces around a text mean nothing (PS3.5 6.2).
    """
    if str(found).strip() == str(other).strip():
        return True
    try:
        return bool(np.allclose(_numbers(found), _numbers(other), rtol=SAME_NUMBER, atol=0))
    except (TypeError, ValueError):
        return False


def _numbers(found: Any) -> list[float]:
    if isinstance(found, str) or not hasattr(found, "__iter__"):
        raise TypeError  # a single string: UIDs and patient IDs are not numbers
    return [float(part) for part in found]


def further_elements(one: Slice, keywords: Sequence[str]) -> Dataset:
    """Elements that ``header`` does not hold, read from the file again."""
    with warnings.catch_warnings(), one.entry.open() as file:
        warnings.simplefilter("ignore")
        return pydicom.dcmread(
            file, stop_before_pixels=True, force=True, specific_tags=list(keywords)
        )


def image_bytes(one: Slice) -> int:
    """Bytes of one uncompressed frame."""
    rows, columns, bits = (
        int(value(one.header, name, one.entry)) for name in ("Rows", "Columns", "BitsAllocated")
    )
    if bits not in (8, 16, 32):
        raise broken_dicom(one.entry, f"the pixels have {bits} bits", "not-grey")
    return rows * columns * bits // 8


def broken_dicom(entry: Entry, problem: str, code: str = "damaged") -> DataError:
    """The error of a DICOM file that is damaged or incomplete."""
    return DataError(
        problem,
        where=str(entry.path or entry.name),
        rule="a DICOM file is complete and has the elements that its image needs",
        remedy="send the series again from its source",
        code=code,
    )


MAX_FRAMES = 1 << 14

_PLACES = {
    "PlanePositionSequence": ("ImagePositionPatient",),
    "PlaneOrientationSequence": ("ImageOrientationPatient",),
    "PixelMeasuresSequence": ("PixelSpacing", "SliceThickness", "SpacingBetweenSlices"),
    "PixelValueTransformationSequence": ("RescaleSlope", "RescaleIntercept"),
    "CTGeometrySequence": (
        "DistanceSourceToDetector", "DistanceSourceToDataCollectionCenter",
    ),
    "CTAcquisitionDetailsSequence": ("GantryDetectorTilt",),
    "CTReconstructionSequence": ("ConvolutionKernel", "ReconstructionDiameter"),
    "CTXRayDetailsSequence": ("KVP",),
    "MRTimingAndRelatedParametersSequence": (
        "RepetitionTime", "FlipAngle", "EchoTrainLength",
    ),
    "MREchoSequence": ("EffectiveEchoTime",),
    "MRModifierSequence": ("InversionTimes",),
    "MRAveragesSequence": ("NumberOfAverages",),
    "MRImagingModifierSequence": ("PixelBandwidth", "TransmitterFrequency"),
}  # fmt: skip
_CLASSIC = {
    "EffectiveEchoTime": "EchoTime",
    "InversionTimes": "InversionTime",
    "TransmitterFrequency": "ImagingFrequency",
    "DistanceSourceToDataCollectionCenter": "DistanceSourceToPatient",
}
"""Names of the same elements in a classic header."""


def frames_of(one: Slice) -> list[Slice]:
    """The frames of an enhanced multi-frame file; any other file is its own only slice."""
    header = one.header
    groups = header.get("PerFrameFunctionalGroupsSequence")
    if not groups:
        return [one]
    declared = int(header.get("NumberOfFrames") or 1)
    if len(groups) != declared or declared > MAX_FRAMES:
        problem = f"the file has {len(groups)} functional groups for {declared} frames"
        raise broken_dicom(one.entry, problem, "bad-tag")
    shared = _values((header.get("SharedFunctionalGroupsSequence") or [Dataset()])[0])
    common = Dataset()
    common.update({element.tag: element for element in header if element.VR != "SQ"})
    slices = []
    for number, group in enumerate(groups):
        own = Dataset()
        own.update(common)
        own.file_meta = header.file_meta
        for keyword, value in {**shared, **_values(group)}.items():
            if keyword in own:  # all frames share the top level's element: never change its value
                del own[keyword]
            setattr(own, keyword, value)
        slices.append(replace(one, header=own, frame=number))
    return slices


def _values(group: Dataset) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for place, keywords in _PLACES.items():
        for item in (group.get(place) or [])[:1]:
            for keyword in keywords:
                value = item.get(keyword)
                if value not in (None, ""):
                    values[_CLASSIC.get(keyword, keyword)] = value
    return values
