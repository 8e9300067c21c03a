"""Torch engine, local cross-correlation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from synthct.tasks.registration.methods import METHODS
from synthct.tasks.registration.methods.torch_engine import EngineMethod


@METHODS.register("lncc")
@dataclass(frozen=True)
class LocalCorrelation(EngineMethod):
    """Local correlation: scans of one modality, or shaded ones, or contrast that flips."""

    compares: ClassVar[str] = "lncc"
    bending: ClassVar[float] = 1000.0
