"""Registration settings, independent of the registration engine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from synthct.data.errors import UsageError

Pyramid = Literal["smoothing", "recursive"]
"""``smoothing`` keeps all voxels, ``recursive`` also downsamples the image at each level."""


@dataclass(frozen=True)
class RigidStep:
    """Rigid step by Mattes mutual information and adaptive stochastic gradient descent.

    Parameters
    ----------
    bins
        Number of histogram bins per image.
    pyramid_factors
        Smoothing and shrink factor of each level, coarsest first.
    iterations
        Number of iterations of each level.
    samples
        Number of random samples per iteration.
    """

    bins: int = 32
    pyramid_factors: tuple[int, ...] = (8, 4, 2, 1)
    iterations: tuple[int, ...] = (1000, 1000, 500, 500)
    samples: int = 3000

    def __post_init__(self) -> None:
        _one_entry_a_level("rigid", self.pyramid_factors, iterations=self.iterations)


@dataclass(frozen=True)
class BSplineStep:
    """Cubic B-spline step by Mattes mutual information (weight 1) and penalties.

    Parameters
    ----------
    bending_weight
        Weight of the mean bending energy [mm^2]; mutual information has weight 1.
    rigidity_weight
        Weight of the rigidity penalty on bone (Staring et al., Med Phys 34 (2007) 4098); 0: none.
    grid_mm
        Control point spacing at the finest level [mm].
    grid_schedule
        Factor on ``grid_mm`` at each level, coarsest first.
    sample_region_mm
        Side of the random cube from which an iteration is sampled (local mutual information) [mm];
        0: the whole body. Limited to 0.8 of the smallest extent.
    erode_mask
        Erode the mask at each pyramid level to exclude smoothed edges of the field of view.
    interpolation_order
        Order of the B-spline interpolation of the moving image (1 or 3).
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
    """Settings for the registration of one kind of pair.

    Parameters
    ----------
    name
        Name as in ``params.yaml``.
    rigid, bspline
        Settings of the two steps.
    ct_window_hu
        Clipping window of a CT, for the similarity only [HU]: otherwise, a dental filling at
        3071 HU would compress soft tissue into one histogram bin.
    flatten_mm
        Standard deviation of the Gaussian whose local mean in the body is subtracted from both
        scans for the similarity, to remove slow shading [mm]; 0: no correction.
    mask_margin_mm
        Dilation of the body masks, so that the skin surface is included [mm].
    """

    name: str
    bspline: BSplineStep
    rigid: RigidStep = field(default_factory=RigidStep)
    ct_window_hu: tuple[float, float] = (-1000.0, 1500.0)
    flatten_mm: float = 0.0
    mask_margin_mm: float = 6.0

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Preset:
        """The preset from the JSON form of ``dataclasses.asdict`` (lists for tuples)."""
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
