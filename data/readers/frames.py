"""Enhanced multi-frame images as slices: each frame gets the header a classic slice would have.

Functional groups: DICOM PS3.3 C.7.6.16; enhanced CT A.38, enhanced MR A.36.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from pydicom.dataset import Dataset

from synthct.data.readers.slice import Slice, broken_dicom

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
"""Names that the same facts have in a classic header."""


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
