"""Facts of a scan from its headers, and what a reader noticed or repaired; no voxels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydicom.dataset import Dataset

from synthct.data.volume import Grid, Modality


@dataclass(frozen=True)
class Remark:
    """One observation: ingestion turns it into a finding.

    Parameters
    ----------
    code
        Stable kebab-case name.
    sentence
        What was found, in numbers; never a file name, a path or text of the header.
    repaired
        Whether the volume differs from the files because of it.
    """

    code: str
    sentence: str
    repaired: bool = False


_NUMBERS = {
    "RepetitionTime": "repetition_time_ms", "EchoTime": "echo_time_ms",
    "InversionTime": "inversion_time_ms", "FlipAngle": "flip_angle_deg",
    "MagneticFieldStrength": "field_t", "EchoTrainLength": "echo_train_length",
    "ImagingFrequency": "imaging_frequency_mhz", "PixelBandwidth": "pixel_bandwidth_hz",
    "NumberOfAverages": "averages", "KVP": "tube_kv", "GantryDetectorTilt": "gantry_tilt_deg",
    "SliceThickness": "slice_thickness_mm", "SpacingBetweenSlices": "slice_distance_mm",
    "ReconstructionDiameter": "reconstruction_diameter_mm",
    "DistanceSourceToDetector": "source_to_detector_mm",
    "DistanceSourceToPatient": "source_to_patient_mm",
}  # fmt: skip
_WORDS = {
    "Manufacturer": "manufacturer", "ManufacturerModelName": "model",
    "ScanningSequence": "scanning_sequence", "SequenceVariant": "sequence_variant",
    "ScanOptions": "scan_options", "MRAcquisitionType": "acquisition",
    "AcquisitionMatrix": "acquisition_matrix", "InPlanePhaseEncodingDirection": "phase_encoding",
    "ConvolutionKernel": "kernel", "BodyPartExamined": "body_part",
    "PatientPosition": "patient_position", "LossyImageCompression": "lossy",
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class ScanFacts:
    """Facts of one scan.

    Parameters
    ----------
    format
        ``dicom``, ``nifti``, ``metaimage``, ``nrrd`` or ``ome-zarr``.
    modality
        None where the format does not state it.
    grid
        Size, spacing and orientation.
    sequence
        Series facts with their units in the names, e.g. ``repetition_time_ms``.
    frame
        FrameOfReferenceUID: scans with the same one share coordinates; empty where not stated.
    remarks
        What the reader repaired or noticed.
    """

    format: str
    modality: Modality | None
    grid: Grid
    number_of_series: int = 1
    sequence: dict[str, Any] = field(default_factory=dict)
    frame: str = ""
    remarks: tuple[Remark, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """All plain values."""
        return {
            "format": self.format,
            "modality": str(self.modality) if self.modality else None,
            "grid": grid_json(self.grid),
            "number_of_series": self.number_of_series,
            "sequence": self.sequence,
            "frame": self.frame,
            "remarks": [vars(remark) for remark in self.remarks],
        }

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> ScanFacts:
        """The facts that :meth:`as_json` gave."""
        modality = Modality(row["modality"]) if row["modality"] else None
        grid = grid_from_json(row["grid"])
        remarks = tuple(Remark(**one) for one in row["remarks"])
        counted, facts = row["number_of_series"], dict(row["sequence"])
        return cls(row["format"], modality, grid, counted, facts, row["frame"], remarks)


def grid_json(grid: Grid) -> dict[str, Any]:
    """A grid as plain lists; numbers keep every digit."""
    return {
        "shape": list(grid.shape),
        "spacing_mm": list(grid.spacing_mm),
        "origin_mm": list(grid.origin_mm),
        "direction": [list(row) for row in grid.direction],
    }


def grid_from_json(row: Mapping[str, Any]) -> Grid:
    """The grid that :func:`grid_json` gave."""
    a, b, c = (tuple(float(number) for number in line) for line in row["direction"])
    return Grid(
        tuple(row["shape"]),
        tuple(row["spacing_mm"]),
        tuple(row["origin_mm"]),
        (a, b, c),  # type: ignore[arg-type]
    )


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
    return str(found) if isinstance(found, str) else "\\".join(str(part) for part in _parts(found))


def _parts(found: Any) -> list[Any]:
    return list(found) if hasattr(found, "__iter__") else [found]
