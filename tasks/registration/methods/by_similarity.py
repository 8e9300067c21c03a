"""Methods of the torch engine, one per similarity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from synthct.tasks.registration.methods import METHODS
from synthct.tasks.registration.methods.torch_engine import EngineMethod


@METHODS.register("mi")
@dataclass(frozen=True)
class MutualInformation(EngineMethod):
    """Mutual information of intensities, for any two modalities.

    The CT window includes bone: a soft-tissue window puts bone and muscle into one bin, which
    raised the error of one of two digital heads by half. Convergence is slow: with half the
    iterations the error was 6 % larger in five digital heads and 5 % larger in six trunks (with
    twice as many, 1 % smaller).
    """

    compares: ClassVar[str] = "mi"
    bending: ClassVar[float] = 3000.0
    ct_window_hu: Sequence[float] | None = (-1000.0, 1500.0)
    iterations: Sequence[int] | None = (120, 120, 80)


@METHODS.register("ncc")
@dataclass(frozen=True)
class Correlation(EngineMethod):
    """Global correlation, for scans of one modality."""

    compares: ClassVar[str] = "ncc"
    bending: ClassVar[float] = 1000.0


@METHODS.register("lncc")
@dataclass(frozen=True)
class LocalCorrelation(EngineMethod):
    """Local correlation, for one modality, scans with shading, or inverted contrast."""

    compares: ClassVar[str] = "lncc"
    bending: ClassVar[float] = 1000.0


@METHODS.register("mind")
@dataclass(frozen=True)
class SelfSimilarity(EngineMethod):
    """Self-similarity descriptors, for any two modalities, CBCT with CT, and large motion."""

    compares: ClassVar[str] = "mind"
    bending: ClassVar[float] = 300.0


@METHODS.register("mind_fine")
@dataclass(frozen=True)
class FineMind(EngineMethod):
    """MIND-SSC at up to full resolution with densely spaced control points, for lung vessels.

    For scans of one modality with much fine texture and large motion. Descriptors are computed at
    twice the resolution of the level and averaged, as ConvexAdam does (Siebert, Hansen &
    Heinrich, IEEE Trans. Med. Imaging 44 (2025) 738-748). The backward displacement is optimised
    jointly with the forward one, which smooths away what only one of them would follow (noise) but
    not vessels (docs/benchmarks/registration_lung.md).
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
