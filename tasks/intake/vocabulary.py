"""Words kept in a de-identified header: defined terms, manufacturers, models, kernels.

Other texts are dropped: a rare kernel cannot be distinguished from a rare name.
"""

from __future__ import annotations

import re

_CODES: dict[str, frozenset[str]] = {
    "ScanningSequence": frozenset({"SE", "IR", "GR", "EP", "RM"}),
    "SequenceVariant": frozenset({"SK", "MTC", "SS", "TRSS", "SP", "MP", "OSP", "NONE"}),
    "MRAcquisitionType": frozenset({"2D", "3D"}),
    "PatientPosition": frozenset(
        {"HFS", "HFP", "HFDR", "HFDL", "FFS", "FFP", "FFDR", "FFDL", "LFP", "LFS", "RFP", "RFS",
         "AFDR", "AFDL", "PFDR", "PFDL"}
    ),
    "BodyPartExamined": frozenset(
        {"ABDOMEN", "ABDOMENPELVIS", "ARM", "BRAIN", "BREAST", "CHEST", "CHESTABDOMEN",
         "CHESTABDPELVIS", "CSPINE", "EXTREMITY", "FEMUR", "FOOT", "HAND", "HEAD", "HEADNECK",
         "HEART", "HIP", "KIDNEY", "KNEE", "LEG", "LIVER", "LSPINE", "LUNG", "NECK", "PANCREAS",
         "PELVIS", "PROSTATE", "RECTUM", "SHOULDER", "SKULL", "SPINE", "THIGH", "THORAX",
         "TSPINE", "UTERUS", "WHOLEBODY"}
    ),
}  # fmt: skip
"""Defined terms of DICOM PS3.3 and PS3.16 (CID 4)."""

_MAKERS = (
    "accuray", "agfa", "bruker", "canon", "elekta", "esaote", "fujifilm", "fuji", "ge", "hitachi",
    "imris", "medtronic", "mim software", "neusoft", "paramed", "philips", "shimadzu", "siemens",
    "synthct", "synthct digital", "time medical", "toshiba", "united imaging", "varian",
    "viewray", "neurologica", "planmeca", "carestream", "raysearch", "brainlab",
)  # fmt: skip
_LEGAL_FORMS = (
    "medical systems system healthcare health healthineers corporation inc ag gmbh nmr ltd co"
)
_MAKERS_TAIL = frozenset(_LEGAL_FORMS.split())

_MODELS = """
obi on-board imager onboard cone-beam cone beam ct cbct xvi halcyon truebeam vitalbeam edge
clinac trilogy novalis ethos probeam hypersight discovery optima revolution lightspeed
brightspeed bravo st ste rx vct hd highspeed advance signa excite architect premier pioneer
artist voyager explorer somatom definition sensation emotion force drive flash as plus
confidence go.sim go.open.pro go.top go.up x.cite x.ceed perspective biograph mct vision horizon
magnetom avanto aera skyra prisma vida sola lumina altea amira espree verio symphony trio fit
harmony essenza free.max cima.x intera achieva ingenia ambition elition mr-rt gyroscan panorama
ingenuity brilliance big bore gemini tf iqon spectral incisive mx8000 aquilion one prime lb
lightning genesis vantage titan galan orian activion umr uct upet 16 64 128 256 320 1.5t 3t 3.0t
0.35t 0.55t 1.5 3 mridian unity versa infinity synergy axesse tomotherapy radixact digital
patient mr scan 3.0 70 1.0t 7t pet/ct xl hdxt mr450 mr450w mr750 mr750w 750 750w 450 450w
"""
_MODEL_WORDS = frozenset(_MODELS.split())

_KERNEL = re.compile(
    r"(?i)soft|standard|std|bone|boneplus|lung|detail|edge|chest|smooth|sharp|medium|ram-lak"
    r"|shepp-logan|hann|hamming|cosine|[a-z]{1,3}\d{1,3}[a-z]?|[a-d]|u?[bhqij]\d\df(_\d)?"
    r"|fc\d{2}|y[abc]|\d"
)


def allowed(keyword: str, text: str) -> str:
    """The text if it consists of known terms; otherwise empty."""
    text = text.strip()
    if keyword in _CODES:
        return text.upper() if text.upper() in _CODES[keyword] else ""
    if keyword == "Manufacturer":
        return _maker(text)
    if keyword == "ManufacturerModelName":
        words = text.lower().split()
        return text if words and all(word in _MODEL_WORDS for word in words) else ""
    if keyword == "ConvolutionKernel":
        return text if _KERNEL.fullmatch(text) else ""
    return ""


def _maker(text: str) -> str:
    lowered = re.sub(r"[,.]", " ", text.lower())
    known = []
    for part in lowered.split("/"):
        part = " ".join(word for word in part.split() if word not in _MAKERS_TAIL)
        if part and part not in _MAKERS:
            return ""
        known.append(part)
    return text if any(known) else ""


WORDS = (
    "Manufacturer", "ManufacturerModelName", "ScanningSequence", "SequenceVariant",
    "MRAcquisitionType", "ConvolutionKernel", "BodyPartExamined", "PatientPosition",
)  # fmt: skip
"""Text elements that are copied if :func:`allowed`; no others are."""

NUMBERS: dict[str, tuple[float, float]] = {
    "ImagePositionPatient": (-1e4, 1e4),
    "ImageOrientationPatient": (-1.01, 1.01),
    "PixelSpacing": (1e-6, 1e4),
    "SliceThickness": (0, 1e3),
    "SpacingBetweenSlices": (-1e3, 1e3),
    "RescaleSlope": (-1e6, 1e6),
    "RescaleIntercept": (-1e6, 1e6),
    "RepetitionTime": (0, 1e5),
    "EchoTime": (0, 1e4),
    "InversionTime": (0, 1e5),
    "FlipAngle": (-360, 360),
    "MagneticFieldStrength": (0, 30),
    "EchoTrainLength": (0, 1e4),
    "KVP": (0, 1e3),
    "GantryDetectorTilt": (-90, 90),
    "ReconstructionDiameter": (0, 3000),
}
"""Numeric elements that are copied if their value is in this physical range, so that they cannot
encode a date or the ID of a person."""
