"""What the methods of the torch engine share: which settings they have and how they are read."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import SimpleITK as sitk

from data.faults import UsageFault
from tasks.registration.job import Job

if TYPE_CHECKING:
    from tasks.registration.torch_engine.settings import Penalty, Settings


@dataclass(frozen=True)
class EngineMethod:
    """The torch engine with one similarity, in millimetres of the finest level.

    Whatever the scan's own voxels, the same tissue is compared on voxels of the same size; a
    level finer than the scan is the scan itself. The search works on as many voxels however finely
    a scan was sampled; only reading it and writing the result grow.

    Parameters
    ----------
    similarity
        Parameters of the similarity.
    deformation
        Name of a deformation model and its parameters; those in mm hold at the finest level.
    penalties
        Regularizers of the displacement: ``[{name: bending, weight: 1.0}]``; empty: the bending
        energy that suits the similarity.
    voxels_mm
        Side of the voxels of each level, coarse first [mm].
    iterations
        Steps of Adam at each level.
    step_mm
        Step at the finest level [mm]; larger at a coarser one by as much as its voxels.
    start, max_seconds, max_memory_gb
        As in :class:`~tasks.registration.torch_engine.settings.Settings`.
    """

    compares: ClassVar[str]
    """Name of the similarity in ``tasks.similarities``."""
    bending: ClassVar[float]
    """Usual weight of the bending energy [mm^2]."""

    similarity: Mapping[str, Any] = field(default_factory=dict)
    deformation: Mapping[str, Any] = field(
        default_factory=lambda: {"name": "bspline", "grid_mm": 24.0}
    )
    penalties: Sequence[Mapping[str, Any]] = ()
    voxels_mm: Sequence[float] = (8.0, 4.0)
    iterations: Sequence[int] = (50, 30)
    step_mm: float = 1.0
    start: str = "none"
    max_seconds: float = 0.0
    max_memory_gb: float = 6.0

    def __post_init__(self) -> None:
        sides = list(self.voxels_mm)
        if not sides or min(sides) <= 0 or sides != sorted(sides, reverse=True):
            raise ValueError(f"voxels_mm holds positive sides, coarse first, got {sides}")

    def settings(self, voxel_mm: float = 1.0) -> Settings:
        """The engine's own settings for a grid of smallest side ``voxel_mm``.

        A wrong name or number is a usage fault.
        """
        from tasks.registration.torch_engine.settings import Penalty, Settings

        factors = tuple(max(1.0, side / voxel_mm) for side in self.voxels_mm)
        name, options = _named("deformation", self.deformation)
        usual = (Penalty("bending", self.bending),)
        return Settings(
            similarity=self.compares,
            similarity_options=self.similarity_options(),
            deformation=name,
            deformation_options={
                key: value / factors[-1] if key.endswith("_mm") else value
                for key, value in options.items()
            },
            penalties=tuple(_penalty(entry) for entry in self.penalties) or usual,
            factors=factors,
            iterations=tuple(self.iterations),
            step_mm=self.step_mm / factors[-1],
            start=self.start,
            max_seconds=self.max_seconds,
            max_memory_gb=self.max_memory_gb,
        )

    def similarity_options(self) -> Mapping[str, Any]:
        """Parameters of the similarity."""
        return dict(self.similarity)

    def deformable(self, job: Job, rigid: sitk.Transform) -> sitk.CompositeTransform:
        """X -> rigid(x + u(x)), u by the engine on the working grid."""
        from tasks.registration.torch_engine.step import engine_step

        return engine_step(job, rigid, self.settings(min(job.grid.spacing_mm)))

    def plugins(self) -> tuple[str, ...]:
        """Modules of the similarity, the deformation and the penalties."""
        return self.settings().plugins()

    def facts(self) -> dict[str, Any]:
        """Its parameters as plain JSON."""
        plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self)))
        if not self.penalties:
            plain["penalties"] = [{"name": "bending", "weight": self.bending}]
        return {"compares": self.compares, **plain}


def _penalty(entry: Mapping[str, Any]) -> Penalty:
    from tasks.registration.torch_engine.settings import Penalty

    name, options = _named("penalties", entry)
    weight = options.pop("weight", None)
    if not isinstance(weight, int | float) or weight < 0:
        raise UsageFault(
            f"penalty {name!r} has a weight of at least 0", got=str(weight), code="penalty-weight"
        )
    return Penalty(name, float(weight), options)


def _named(what: str, entry: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    options = dict(entry)
    name = options.pop("name", None)
    if not isinstance(name, str):
        raise UsageFault(
            f"each entry of {what} has a name", got=str(dict(entry)), code="plugin-unnamed"
        )
    return name, options
