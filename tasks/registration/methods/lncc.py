"""Torch engine, local cross-correlation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from tasks.registration.engine_method import EngineMethod
from tasks.registration.methods import METHODS


@METHODS.register("lncc")
@dataclass(frozen=True)
class LocalCorrelation(EngineMethod):
    """Local correlation: scans of one modality, or shaded ones, or contrast that flips."""

    compares: ClassVar[str] = "lncc"
    bending: ClassVar[float] = 500.0

    def similarity_options(self) -> Mapping[str, Any]:
        """A window that holds an edge even in smooth tissue."""
        return {"window_mm": 24.0, **self.similarity}
