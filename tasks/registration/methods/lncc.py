"""Torch engine, local cross-correlation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from tasks.registration.engine_method import EngineMethod
from tasks.registration.methods import METHODS


@METHODS.register("lncc")
@dataclass(frozen=True)
class LocalCorrelation(EngineMethod):
    """Local correlation: scans of one modality, or shaded ones, or contrast that flips."""

    compares: ClassVar[str] = "lncc"
    bending: ClassVar[float] = 1000.0
