"""Torch engine, local self-similarity of fine detail."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from tasks.registration.engine_method import EngineMethod
from tasks.registration.methods import METHODS


@METHODS.register("mind_fine")
@dataclass(frozen=True)
class FineMind(EngineMethod):
    """MIND-SSC of the scans' own voxels on a dense net of control points: a lung's vessels.

    For scans of one modality with much fine texture and large motion. Descriptors are computed at
    twice the resolution of the level and averaged, as ConvexAdam does (Siebert, Hansen &
    Heinrich, IEEE Trans. Med. Imaging 44 (2025) 738-748).
    """

    compares: ClassVar[str] = "mind"
    bending: ClassVar[float] = 0.0

    deformation: Mapping[str, Any] | None = field(
        default_factory=lambda: {"name": "bspline", "grid_mm": 3.0}
    )
    penalties: Sequence[Mapping[str, Any]] | None = field(
        default_factory=lambda: ({"name": "diffusion", "weight": 0.03},)
    )
    factors: Sequence[float] | None = (4.0, 2.0)
    iterations: Sequence[int] | None = (40, 60)
    oversampling: int | None = 2
