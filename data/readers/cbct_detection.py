"""Distinguishes cone-beam CT from CT: DICOM gives both the modality CT.

The manufacturer's model name decides where it is that of an imager on a treatment machine. For
other models geometry decides: a treatment machine turns its source 1000 mm from the axis and
1400 mm or more from the flat panel, a diagnostic scanner 500 to 700 mm and at most 1200 mm.
File and folder names are not used.
"""

from __future__ import annotations

import re
from typing import Any

from pydicom.dataset import Dataset

from synthct.data.volume import Modality

CONE_BEAM = re.compile(
    r"\bOBI\b|on-?board imag|cone[- ]?beam|\bXVI\b|\bCBCT\b|\bhalcyon|\btruebeam|\bvitalbeam"
    r"|\bprobeam|\bethos\b|\bhypersight",
    re.IGNORECASE,
)
"""Model names of imagers on treatment machines."""

SOURCE_TO_AXIS_MM = 850.0
"""A source farther from the axis than this [mm] turns around a treatment machine."""

SOURCE_TO_PANEL_MM = 1300.0
"""Likewise for the distance of the source from the detector [mm]."""


def modality_of(header: Dataset) -> Modality | None:
    """CT, CBCT, MR or DOSE by the header of one slice; None for anything else."""
    name = str(header.get("Modality", "")).upper()
    if name == "MR":
        return Modality.MR
    if name == "RTDOSE":
        return Modality.DOSE
    if name != "CT":
        return None
    return Modality.CBCT if is_cone_beam(header) else Modality.CT


def is_cone_beam(header: Dataset) -> bool:
    """Whether a CT header is that of a cone-beam imager."""
    model = f"{header.get('ManufacturerModelName', '')} {header.get('Manufacturer', '')}"
    if CONE_BEAM.search(model):
        return True
    to_axis = _millimetres(header.get("DistanceSourceToPatient"))
    to_panel = _millimetres(header.get("DistanceSourceToDetector"))
    return to_axis >= SOURCE_TO_AXIS_MM or to_panel >= SOURCE_TO_PANEL_MM


def _millimetres(found: Any) -> float:
    try:
        return float(found)
    except (TypeError, ValueError):
        return 0.0
