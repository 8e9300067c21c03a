"""What is not taken in, and the reason that may be shown."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from synthct.data.readers import Found
from synthct.tasks.intake.layout import Named
from synthct.tasks.intake.scrub import secrets_of, told


@dataclass(frozen=True)
class Passed:
    """Something that is not taken in, and why: ``label`` may be shown, ``place`` only at will."""

    label: str
    reason: str
    place: str
    path: Path | None = None
    """Of an image that a manifest could name."""


def why_not(row: Found) -> str:
    """Why a find is no scan, structure set or dose."""
    if row.kind == "broken":
        return told(row.fault, secrets_of(row)) if row.fault else "damaged"
    if row.kind == "localizer":
        return "a localizer"
    if row.kind == "capture":
        return "a picture of a screen or a report"
    kind = str(row.header.get("Modality", ""))
    kind = kind if re.fullmatch(r"[A-Z]{1,9}", kind) else "a file"
    count = f"{len(row.files)} file{'' if len(row.files) == 1 else 's'}"
    return f"{kind} ({count}) is not taken in"


def unknown(name: Named) -> str:
    """Why an image file is not taken in by its names; empty where they say what it is."""
    if name.derived:
        return "a derivative of a BIDS data set: a manifest can name it"
    if name.mask:
        return "a mask or label map: a manifest can name it as MASK (of the body)"
    if name.modality is None:
        return "the modality is not known: name it in a manifest (--manifest)"
    return ""
