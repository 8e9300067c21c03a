"""Torch engine, MIND-SSC."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from tasks.registration.engine_method import EngineMethod
from tasks.registration.methods import METHODS


@METHODS.register("mind")
@dataclass(frozen=True)
class SelfSimilarity(EngineMethod):
    """Self-similarity descriptors: any two modalities, CBCT with CT, and large motion."""

    compares: ClassVar[str] = "mind"
    bending: ClassVar[float] = 300.0
