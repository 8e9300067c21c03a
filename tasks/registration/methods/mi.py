"""Torch engine, mutual information."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from tasks.registration.engine_method import EngineMethod
from tasks.registration.methods import METHODS


@METHODS.register("mi")
@dataclass(frozen=True)
class MutualInformation(EngineMethod):
    """Mutual information of the intensities: any two modalities."""

    compares: ClassVar[str] = "mi"
    bending: ClassVar[float] = 3000.0
