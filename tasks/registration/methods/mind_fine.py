"""Torch engine, local self-similarity of fine detail."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from synthct.tasks.registration.methods import METHODS
from synthct.tasks.registration.methods.torch_engine import EngineMethod


@METHODS.register("mind_fine")
@dataclass(frozen=True)
class FineMind(EngineMethod):
    """MIND-SSC of the scans' own voxels on a dense net of control points: a lung's vessels.

    For scans of one modality with much fine texture and large motion. Descriptors are computed at
    twice the resolution of the level and averaged, as ConvexAdam does (Siebert, Hansen &
    Heinrich, IEEE Trans. Med. Imaging 44 (2025) 738-748). The way back is searched beside the way
    there, so that what one of them alone would follow (noise) is smoothed away, and vessels are
    not (docs/benchmarks/registration_lung.md).
    """

    compares: ClassVar[str] = "mind"
    bending: ClassVar[float] = 0.0

    deformation: Mapping[str, Any] | None = field(
        default_factory=lambda: {"name": "bspline", "grid_mm": 3.0}
    )
    penalties: Sequence[Mapping[str, Any]] | None = field(
        default_factory=lambda: (
            {"name": "diffusion", "weight": 0.03},
            {"name": "inverse_consistency", "weight": 0.01},
        )
    )
    factors: Sequence[float] | None = (4.0, 2.0)
    iterations: Sequence[int] | None = (25, 35)
    oversampling: int | None = 2
