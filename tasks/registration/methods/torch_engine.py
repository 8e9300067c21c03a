"""Common base of the torch engine's methods: their settings and how these are read."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from synthct.data.errors import UsageError

if TYPE_CHECKING:
    import SimpleITK as sitk

    from synthct.tasks.registration.engine.settings import Penalty, Settings
    from synthct.tasks.registration.job import Job


GRID_MM = 24.0
"""Default control-point spacing at factor 1, if no deformation is given [mm]."""


@dataclass(frozen=True)
class EngineMethod:
    """The torch engine with one similarity; parameters not given default to the engine's.

    Parameters
    ----------
    similarity
        Parameters of the similarity.
    deformation
        Name and parameters of a deformation model: ``{name: bspline, grid_mm: 12}``.
    penalties
        Regularizers of the displacement: ``[{name: bending, weight: 1.0}]``.
    ct_window_hu
        Intensity window to which CT and CBCT are clipped; overrides the preset [HU].
    factors, iterations, step_mm, start, oversampling, max_seconds, max_memory_gb
        As in :class:`~synthct.tasks.registration.engine.settings.Settings`.
    """

    compares: ClassVar[str]
    """Name of the similarity in ``synthct.tasks.registration.similarities``."""
    bending: ClassVar[float]
    """Weight of the bending penalty if no penalties are given; depends on the similarity's scale.
    A tenth of it caused folding in digital patients, ten times it left little deformation."""

    similarity: Mapping[str, Any] = field(default_factory=dict)
    deformation: Mapping[str, Any] | None = None
    penalties: Sequence[Mapping[str, Any]] | None = None
    ct_window_hu: Sequence[float] | None = None
    factors: Sequence[float] | None = None
    iterations: Sequence[int] | None = None
    step_mm: float | None = None
    start: str | None = None
    oversampling: int | None = None
    max_seconds: float | None = None
    max_memory_gb: float | None = None

    def settings(self) -> Settings:
        """All settings of the engine; an invalid one is a usage error."""
        from synthct.tasks.registration.engine.settings import Penalty, Settings

        given: dict[str, Any] = {
            "deformation": "bspline",
            "deformation_options": {"grid_mm": GRID_MM},
            "penalties": (Penalty("bending", self.bending),),
        }
        if self.deformation is not None:
            name, options = _named("deformation", self.deformation)
            given |= {"deformation": name, "deformation_options": options}
        if self.penalties is not None:
            given["penalties"] = tuple(_penalty(entry) for entry in self.penalties)
        if self.factors is not None:
            given["factors"] = tuple(float(factor) for factor in self.factors)
        if self.iterations is not None:
            given["iterations"] = tuple(int(count) for count in self.iterations)
        for name in ("step_mm", "max_seconds", "max_memory_gb"):
            if (value := getattr(self, name)) is not None:
                given[name] = float(value)
        if self.start is not None:
            given["start"] = self.start
        if self.oversampling is not None:
            given["oversampling"] = int(self.oversampling)
        _check_window(self.ct_window_hu)
        return dataclasses.replace(
            Settings(),
            similarity=self.compares,
            similarity_options=self.similarity_options(),
            **given,
        )

    def similarity_options(self) -> Mapping[str, Any]:
        """Parameters of the similarity."""
        return dict(self.similarity)

    def deformable(self, job: Job, rigid: sitk.Transform) -> sitk.CompositeTransform:
        """The transform x -> rigid(x + u(x)), with u from the engine on the working grid."""
        from synthct.tasks.registration.engine.deformable_step import engine_step

        return engine_step(self.prepared(job), rigid, self.settings())

    def prepared(self, job: Job) -> Job:
        """The job with this method's intensity window."""
        if self.ct_window_hu is None:
            return job
        low, high = (float(bound) for bound in self.ct_window_hu)
        return job.with_window((low, high))

    def plugins(self) -> tuple[str, ...]:
        """Modules of the similarity, the deformation and the penalties."""
        return self.settings().plugins()

    def facts(self) -> dict[str, Any]:
        """The settings used."""
        window = None if self.ct_window_hu is None else [float(hu) for hu in self.ct_window_hu]
        return self.settings().as_json() | ({} if window is None else {"ct_window_hu": window})


def _check_window(window_hu: Sequence[float] | None) -> None:
    if window_hu is not None and (len(window_hu) != 2 or not window_hu[0] < window_hu[1]):
        raise UsageError(
            f"ct_window_hu is {list(window_hu)}",
            rule="ct_window_hu is a lower and a higher bound [HU]",
            code="ct-window",
        )


def _penalty(entry: Mapping[str, Any]) -> Penalty:
    from synthct.tasks.registration.engine.settings import Penalty

    name, options = _named("penalties", entry)
    weight = options.pop("weight", None)
    if not isinstance(weight, int | float) or weight < 0:
        raise UsageError(
            f"the weight of penalty {name!r} is {weight!r}",
            rule="a weight is a number of at least 0",
            code="penalty-weight",
        )
    return Penalty(name, float(weight), options)


def _named(what: str, entry: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    options = dict(entry)
    name = options.pop("name", None)
    if not isinstance(name, str):
        raise UsageError(
            f"an entry of {what} has no name: {dict(entry)}",
            rule=f"each entry of {what} has a name",
            code="plugin-unnamed",
        )
    return name, options
