"""What kind of structure a name stands for: a lost vessel and a lost liver cost alike."""

from __future__ import annotations

import re
from typing import Literal

StructureClass = Literal["large organ", "small organ", "tubular", "bone"]

CLASSES: tuple[StructureClass, ...] = ("large organ", "small organ", "tubular", "bone")

LARGE_ML = 100.0
"""Organs of at least this volume in the reference are large [ml]."""

_TUBULAR = (
    "aorta", "arter", "vein", "vena", "vessel", "portal", "carotid", "trunk", "subclavian",
    "trachea", "bronch", "airway", "esophag", "oesophag", "colon", "bowel", "duodenum",
    "intestine", "ureter", "urethra", "cord", "canal", "nerve", "chiasm",
)  # fmt: skip
_BONE = (
    "bone", "vertebra", "rib", "sternum", "skull", "mandible", "maxilla", "femur", "hip",
    "humerus", "scapula", "clavicul", "clavicle", "sacrum", "pelvis", "tooth", "teeth", "tibia",
    "fibula", "radius", "ulna", "patella", "spine",
)  # fmt: skip


def class_of(name: str, reference_ml: float) -> StructureClass:
    """By the words in the name (TotalSegmentator's and TG-263's), else by the volume.

    ``costal`` cartilage and ``fem_head`` aside, a word at the start of a part of the name
    decides: ``rib_left_4`` is bone, ``kidney_rib`` would be too.
    """
    words = re.split(r"[^a-z]+", name.lower())
    if any(word.startswith(_BONE) for word in words):
        return "bone"
    if any(word.startswith(_TUBULAR) for word in words):
        return "tubular"
    return "large organ" if reference_ml >= LARGE_ML else "small organ"
