"""Torch engine, normalised cross-correlation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from tasks.registration.engine_method import EngineMethod
from tasks.registration.methods import METHODS


@METHODS.register("ncc")
@dataclass(frozen=True)
class Correlation(EngineMethod):
    """Correlation of the whole images: scans of one modality."""

    compares: ClassVar[str] = "ncc"
    bending: ClassVar[float] = 1000.0
