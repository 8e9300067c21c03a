"""What a scan says about itself, without its voxels."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pydicom.dataset import Dataset

from data.readers.remarks import Remark
from data.volume import Grid, Modality

_NUMBERS = {
    "RepetitionTime": "repetition_time_ms", "EchoTime": "echo_time_ms",
    "InversionTime": "inversion_time_ms", "FlipAngle": "flip_angle_deg",
    "MagneticFieldStrength": "field_t", "EchoTrainLength": "echo_train_length",
    "KVP": "tube_kv", "GantryDetectorTilt": "gantry_tilt_deg", "SliceThickness":
    "slice_thickness_mm", "ReconstructionDiameter": "reconstruction_diameter_mm",
}  # fmt: skip
_WORDS = {
    "Manufacturer": "manufacturer", "ManufacturerModelName": "model",
    "ScanningSequence": "scanning_sequence", "SequenceVariant": "sequence_variant",
    "MRAcquisitionType": "acquisition", "ConvolutionKernel": "kernel",
    "BodyPartExamined": "body_part", "PatientPosition": "patient_position",
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class ScanFacts:
    """Facts of one scan.

    Parameters
    ----------
    format
        ``dicom``, ``nifti``, ``metaimage`` or ``nrrd``.
    modality
        None where the format does not say.
    grid
        Size, spacing and orientation.
    sequence
        Series facts with their units in the names, e.g. ``repetition_time_ms``.
    frame
        FrameOfReferenceUID: scans with the same one share coordinates; empty: not said.
    remarks
        What the reader mended or noticed.
    """

    format: str
    modality: Modality | None
    grid: Grid
    number_of_series: int = 1
    sequence: dict[str, Any] = field(default_factory=dict)
    frame: str = ""
    remarks: tuple[Remark, ...] = ()


def sequence_facts(header: Dataset) -> dict[str, Any]:
    """The facts of the acquisition that matter to a model; nothing that names a person."""
    facts: dict[str, Any] = {}
    for keyword, name in _NUMBERS.items():
        found = header.get(keyword)
        try:
            if found not in (None, ""):
                facts[name] = float(found)
        except (TypeError, ValueError):
            continue
    for keyword, name in _WORDS.items():
        found = header.get(keyword)
        if found not in (None, ""):
            facts[name] = _words(found)
    return facts


def _words(found: Any) -> str:
    return str(found) if isinstance(found, str) else "\\".join(str(part) for part in found)
