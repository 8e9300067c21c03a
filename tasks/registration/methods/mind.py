"""Torch engine, MIND-SSC."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from tasks.registration.engine_method import EngineMethod
from tasks.registration.methods import METHODS


@METHODS.register("mind")
@dataclass(frozen=True)
class SelfSimilarity(EngineMethod):
    """Self-similarity descriptors: any two modalities, CBCT with CT, and large motion."""

    compares: ClassVar[str] = "mind"
    bending: ClassVar[float] = 100.0

    def similarity_options(self) -> Mapping[str, Any]:
        """Neighbours of a voxel: at 4 mm those at twice the distance lie in other tissue."""
        return {"dilation": 1, **self.similarity}
