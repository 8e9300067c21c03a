"""What a registration is told to do, free of any engine's own words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from synthct.data.errors import UsageError

Pyramid = Literal["smoothing", "recursive"]
"""``smoothing`` keeps every voxel, ``recursive`` also halves the grid from level to level."""


@dataclass(frozen=True)
class RigidStep:
    """Rotation and translation by Mattes mutual information and adaptive gradient descent.

    Parameters
    ----------
    bins
        Histogram bins of each image.
    pyramid_factors
        Smoothing and shrink factor of each level, coarse first.
    iterations
        Of each level.
    samples
        Random points of each iteration.
    """

    bins: int = 32
    pyramid_factors: tuple[int, ...] = (8, 4, 2, 1)
    iterations: tuple[int, ...] = (1000, 1000, 500, 500)
    samples: int = 3000

    def __post_init__(self) -> None:
        _one_entry_a_level("rigid", self.pyramid_factors, iterations=self.iterations)


@dataclass(frozen=True)
class BSplineStep:
    """Cubic B-spline by Mattes mutual information (weight 1) and penalties.

    Parameters
    ----------
    bending_weight
        Weight of the mean bending energy [mm^2]; the information's weight is 1.
    rigidity_weight
        Weight of the rigidity penalty on bone (Staring et al., Med Phys 34 (2007) 4098); 0: none.
    grid_mm
        Distance of the control points at the finest level [mm].
    grid_schedule
        Factors on ``grid_mm`` of each level, coarse first.
    sample_region_mm
        Side of the random cube that an iteration's samples come from (local mutual information);
        0: the whole body. At most 0.8 of the smallest extent is used.
    erode_mask
        Shrink the mask with the pyramid so that smoothed edges of the field do not count.
    interpolation_order
        Of the B-spline interpolator that reads the moving image (1 or 3).
    """

    bending_weight: float
    rigidity_weight: float = 0.0
    bins: int = 100
    grid_mm: float = 10.0
    grid_schedule: tuple[float, ...] = (4.0, 2.0, 1.0)
    pyramid: Pyramid = "recursive"
    pyramid_factors: tuple[int, ...] = (4, 2, 1)
    iterations: tuple[int, ...] = (500, 300, 200)
    samples: int = 4096
    sample_region_mm: float = 100.0
    erode_mask: bool = False
    interpolation_order: int = 3

    def __post_init__(self) -> None:
        _one_entry_a_level(
            "bspline",
            self.pyramid_factors,
            iterations=self.iterations,
            grid_schedule=self.grid_schedule,
        )


@dataclass(frozen=True)
class Preset:
    """One way to register one kind of pair.

    Parameters
    ----------
    name
        As ``params.yaml`` says it.
    rigid, bspline
        The two steps.
    ct_window_hu
        CT and CBCT are clipped to it for the similarity alone: a tooth filling at 3071 HU would
        leave soft tissue in one histogram bin.
    flatten_mm
        Slow shading is taken off both scans for the similarity: the local mean in the body over a
        Gaussian of this standard deviation [mm]; 0: never.
    mask_margin_mm
        Body masks grow by this much, so that the skin's edge counts [mm].
    """

    name: str
    bspline: BSplineStep
    rigid: RigidStep = field(default_factory=RigidStep)
    ct_window_hu: tuple[float, float] = (-1000.0, 1500.0)
    flatten_mm: float = 0.0
    mask_margin_mm: float = 6.0

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Preset:
        """The preset of a ``dataclasses.asdict`` that went through JSON (lists for tuples)."""
        fields = {name: _tuples(entry) for name, entry in value.items()}
        fields["rigid"] = RigidStep(**fields["rigid"])
        fields["bspline"] = BSplineStep(**fields["bspline"])
        return cls(**fields)


def _tuples(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _tuples(entry) for name, entry in value.items()}
    return tuple(value) if isinstance(value, list | tuple) else value


def _one_entry_a_level(step: str, factors: tuple[int, ...], **lists: tuple[Any, ...]) -> None:
    for name, values in lists.items():
        if len(values) != len(factors):
            raise UsageError(
                f"{step}.{name} has {len(values)} entries",
                rule=f"it has one for each of the {len(factors)} pyramid levels",
                code="preset-levels",
            )
