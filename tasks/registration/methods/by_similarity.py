"""Methods of the torch engine, one a similarity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from synthct.tasks.registration.methods import METHODS
from synthct.tasks.registration.methods.torch_engine import EngineMethod


@METHODS.register("mi")
@dataclass(frozen=True)
class MutualInformation(EngineMethod):
    """Mutual information of the intensities: any two modalities.

    The CT keeps its bone: a window of soft tissue alone puts it into one bin with muscle, and the
    error of one of two digital heads was half as large again. It climbs slowly: with half the
    steps the error of five digital heads was 6 % larger, of six trunks 5 % (with twice as many,
    1 % smaller).
    """

    compares: ClassVar[str] = "mi"
    bending: ClassVar[float] = 3000.0
    ct_window_hu: Sequence[float] | None = (-1000.0, 1500.0)
    iterations: Sequence[int] | None = (120, 120, 80)


@METHODS.register("ncc")
@dataclass(frozen=True)
class Correlation(EngineMethod):
    """Correlation of the whole images: scans of one modality."""

    compares: ClassVar[str] = "ncc"
    bending: ClassVar[float] = 1000.0


@METHODS.register("lncc")
@dataclass(frozen=True)
class LocalCorrelation(EngineMethod):
    """Local correlation: scans of one modality, or shaded ones, or contrast that flips."""

    compares: ClassVar[str] = "lncc"
    bending: ClassVar[float] = 1000.0


@METHODS.register("mind")
@dataclass(frozen=True)
class SelfSimilarity(EngineMethod):
    """Self-similarity descriptors: any two modalities, CBCT with CT, and large motion."""

    compares: ClassVar[str] = "mind"
    bending: ClassVar[float] = 300.0


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
