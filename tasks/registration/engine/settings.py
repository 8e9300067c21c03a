"""Settings of one registration by the torch engine."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from synthct.data.errors import UsageError
from synthct.tasks.registration.deformations import DEFORMATIONS
from synthct.tasks.registration.similarities import SIMILARITIES
from synthct.tasks.regularization import REGULARIZERS
from synthct.tasks.regularization.base import Regularizer, seams_of

STARTS = ("none", "convex")


@dataclass(frozen=True)
class Penalty:
    """A regularizer of the displacement and its weight in the objective.

    Parameters
    ----------
    name, weight, options
        As in ``params.yaml``; the similarity has weight 1.
    """

    name: str
    weight: float
    options: Mapping[str, Any] = field(default_factory=dict)

    def build(self) -> Regularizer:
        """Build the regularizer; one that does not act on displacements is a usage error."""
        built = REGULARIZERS.build(self.name, self.options)
        if "displacement" not in seams_of(type(built)):
            raise UsageError(
                f"regularizer {self.name!r} does not act on a displacement, but on "
                f"{', '.join(seams_of(type(built)))}",
                rule="penalties of a registration act on its displacement",
                code="not-a-displacement-penalty",
            )
        return built


@dataclass(frozen=True)
class Settings:
    """Similarity, deformation model, penalties and optimisation of a registration.

    Parameters
    ----------
    similarity, similarity_options
        Name and parameters in ``synthct.tasks.registration.similarities``.
    deformation, deformation_options
        Name and parameters in ``synthct.tasks.registration.deformations``.
    penalties
        Regularizers of the displacement; their sum is added to the similarity's cost.
    factors
        Voxel size of each level relative to the smallest spacing, coarsest first.
    iterations
        Number of Adam iterations at each level.
    step_mm
        Adam's step size at factor 1 [mm]; scales with the factor, decays to a tenth in a level.
    start
        ``none``, or ``convex``: initialise by a discrete search, for motion beyond the capture
        range of gradient descent (:mod:`~synthct.tasks.registration.engine.convex`).
    oversampling
        Features are computed on voxels smaller than the level's by this factor, as far as the
        scan's resolution allows, and then averaged, which keeps detail that the level's own
        voxels would blur. For similarities that compare features.
    max_seconds
        No iteration starts after this time [s]; 0: no limit. A result that reached the limit
        depends on the machine.
    max_memory_gb
        Maximum memory the engine may allocate, including its copies of the scans [GB]. Levels
        that need more are skipped; if the coarsest level does, the step fails.
    penalty_stride
        Penalties use every n-th voxel of the displacement along each axis.
    """

    similarity: str = "mind"
    similarity_options: Mapping[str, Any] = field(default_factory=dict)
    deformation: str = "bspline"
    deformation_options: Mapping[str, Any] = field(default_factory=dict)
    penalties: tuple[Penalty, ...] = (Penalty("bending", 1.0),)
    factors: tuple[float, ...] = (4.0, 2.0, 1.0)
    iterations: tuple[int, ...] = (60, 60, 40)
    step_mm: float = 0.5
    penalty_stride: int = 2
    start: str = "none"
    oversampling: int = 1
    max_seconds: float = 0.0
    max_memory_gb: float = 6.0

    def __post_init__(self) -> None:
        if not self.factors or min(self.factors) < 1:
            raise UsageError(
                f"factors is {self.factors}",
                rule="factors holds one number of at least 1 for each level",
                code="torch-levels",
            )
        if len(self.iterations) != len(self.factors) or min(self.iterations) < 1:
            raise UsageError(
                f"iterations is {self.iterations}",
                rule=f"iterations holds one positive number for each of {len(self.factors)} levels",
                code="torch-levels",
            )
        if self.start not in STARTS:
            raise UsageError(
                f"start is {self.start!r}",
                rule=f"start is one of {', '.join(STARTS)}",
                code="torch-start",
            )
        if self.max_seconds < 0 or self.max_memory_gb <= 0:
            raise UsageError(
                f"max_seconds is {self.max_seconds}, max_memory_gb is {self.max_memory_gb}",
                rule="max_seconds is at least 0 and max_memory_gb positive",
                code="torch-limits",
            )
        if self.oversampling < 1:
            raise UsageError(
                f"oversampling is {self.oversampling}",
                rule="oversampling is at least 1",
                code="torch-oversampling",
            )
        if self.penalty_stride < 1:
            raise UsageError(
                f"penalty_stride is {self.penalty_stride}",
                rule="penalty_stride is at least 1",
                code="torch-stride",
            )
        if self.step_mm <= 0:
            raise UsageError(
                f"step_mm is {self.step_mm}",
                rule="step_mm is positive",
                code="torch-step",
            )

    def plugins(self) -> tuple[str, ...]:
        """Modules of all named plug-ins; an invalid name or parameter is a usage error."""
        SIMILARITIES.build(self.similarity, self.similarity_options)
        DEFORMATIONS.build(self.deformation, self.deformation_options)
        for penalty in self.penalties:
            penalty.build()
        modules = {
            SIMILARITIES.module_of(self.similarity),
            DEFORMATIONS.module_of(self.deformation),
        }
        modules |= {REGULARIZERS.module_of(penalty.name) for penalty in self.penalties}
        return tuple(sorted(modules))

    def as_json(self) -> dict[str, Any]:
        """All settings as plain JSON."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return plain
