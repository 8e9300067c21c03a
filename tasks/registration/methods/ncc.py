"""Torch engine, normalised cross-correlation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from synthct.tasks.registration.methods import METHODS
from synthct.tasks.registration.methods.torch_engine import EngineMethod


@METHODS.register("ncc")
@dataclass(frozen=True)
class Correlation(EngineMethod):
    """Correlation of the whole images: scans of one modality."""

    compares: ClassVar[str] = "ncc"
    bending: ClassVar[float] = 1000.0
