"""Torch engine, MIND-SSC."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from synthct.tasks.registration.methods import METHODS
from synthct.tasks.registration.methods.torch_engine import EngineMethod


@METHODS.register("mind")
@dataclass(frozen=True)
class SelfSimilarity(EngineMethod):
    """Self-similarity descriptors: any two modalities, CBCT with CT, and large motion."""

    compares: ClassVar[str] = "mind"
    bending: ClassVar[float] = 300.0
