"""``model.json``: what is needed, in addition to the weights, to run a network on a scan."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from synthct.data.errors import did_you_mean
from synthct.data.files import canonical_json, write_whole
from synthct.data.section import Section

MAX_HU = 32000
"""Largest magnitude of a CT number [HU]: CT is stored in 16 bits."""

MAX_VOXELS = 1 << 26
"""Largest size of a window: no network could be trained with more."""

PatchSide = Annotated[int, Field(ge=1, le=4096)]
SpacingMm = Annotated[float, Field(ge=0.05, le=50.0, allow_inf_nan=False)]


OWN_SCALINGS = frozenset(
    {"zscore_in_mask", "min_p99.5", "two_point", "percentiles", "landmarks", "fat_peak"}
)
"""Names that are valid without looking them up: reading params loads no library that computes."""

OWN_HARMONISERS = frozenset({"quantile", "partial", "monge"})
"""The same of harmonisers."""


class Harmonise(Section):
    """A map of every scan's intensities to one law, after the source scaling."""

    name: str
    """``quantile``: the whole law becomes the reference's. ``partial``: only tissue that both
    show is moved. ``monge``: along a curve of few knots. See the page of harmonisers."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Options of the harmoniser."""
    law: tuple[Annotated[float, Field(allow_inf_nan=False)], ...] | None = Field(
        None, min_length=100, max_length=100
    )
    """The reference: quantiles at 0.5 %, 1.5 %, ..., 99.5 %, in units of the source scaling. Null:
    the mean law of the training scans, which training fills in."""

    @field_validator("name")
    @classmethod
    def _registered(cls, name: str) -> str:
        if name in OWN_HARMONISERS:
            return name
        from synthct.tasks.transport.harmonisers import HARMONISERS  # see SourceScaling

        if name not in HARMONISERS.names():
            hint = did_you_mean(name, HARMONISERS.names())
            raise ValueError(f"no harmoniser is called {name!r}; {hint}")
        return name

    @model_validator(mode="after")
    def _rises(self) -> Harmonise:
        if self.law and any(b < a for a, b in itertools.pairwise(self.law)):
            raise ValueError("law: quantiles do not fall")
        return self


class SourceScaling(Section):
    """How intensities of the source are scaled for the network."""

    kind: str = "zscore_in_mask"
    """``zscore_in_mask``: (x - mean) / SD over the body. ``min_p99.5``: the minimum and the 99.5th
    percentile over the body are mapped to [-1, 1], and values beyond are clipped. ``two_point``
    (cone-beam CT): calibrated to air at -1000 and soft tissue at 40 HU, then [-1024, 3071] HU are
    mapped to [-1, 1]. ``percentiles``, ``landmarks`` and ``fat_peak`` are for MR; see the page of
    source scalings."""
    harmonise: Harmonise | None = None
    """Map every scan, in training and prediction, to one intensity law: for training scans of
    several scanners. Null: scans keep their own laws, and ``predict --harmonise`` maps a single
    one."""

    @field_validator("kind")
    @classmethod
    def _registered(cls, kind: str) -> str:
        if kind in OWN_SCALINGS:
            return kind
        from synthct.tasks.models.scalings import SCALINGS  # params load no library that computes

        if kind not in SCALINGS.names():
            hint = did_you_mean(kind, SCALINGS.names())
            raise ValueError(f"no source scaling is called {kind!r}; {hint}")
        return kind


class TargetScaling(Section):
    """CT clipped to [low, high] HU and mapped linearly to [-1, 1]."""

    low_hu: float = Field(-1024.0, ge=-MAX_HU, le=MAX_HU, allow_inf_nan=False)
    """CT number that becomes -1 [HU]."""
    high_hu: float = Field(3071.0, ge=-MAX_HU, le=MAX_HU, allow_inf_nan=False)
    """CT number that becomes 1 [HU]."""

    @model_validator(mode="after")
    def _ordered(self) -> TargetScaling:
        if self.low_hu >= self.high_hu:
            raise ValueError(f"low_hu {self.low_hu:g} is not below high_hu {self.high_hu:g}")
        return self


class ModelDescription(Section):
    """One trained network, without its weights."""

    format: Literal[1] = 1
    source: Literal["mr", "cbct"]
    fold: int = Field(ge=0)
    network: dict[str, Any]
    """``{"name": ..., options...}`` of ``tasks/models/networks``."""
    dimensions: Literal["2.5d", "3d"] = "2.5d"
    slices: int = Field(5, ge=1, le=99)
    """Neighbouring slices that are input channels (2.5-D; odd); the centre one is predicted."""
    patch_size: tuple[PatchSide, ...] = Field(min_length=2, max_length=3)
    """Sliding window (Y, X) for 2.5-D, (Z, Y, X) for 3-D [voxels]; a multiple of ``divisor``."""
    divisor: int = Field(32, ge=1, le=1024)
    """Window sizes must be multiples of this (the network's total down-sampling)."""
    spacing_mm: tuple[SpacingMm, SpacingMm, SpacingMm]
    """Voxel size (z, y, x) [mm] the network was trained at."""
    margin_mm: float = Field(15.0, ge=0, le=1000, allow_inf_nan=False)
    """Margin around the body in training (``margin_mm`` of the registration)."""
    source_scaling: SourceScaling
    target_scaling: TargetScaling
    flips: tuple[Literal["y", "x"], ...] = ("y", "x")
    """In-plane axes that were flipped in training, and may be flipped in test-time augmentation."""
    precision: Literal["float32", "bfloat16"] | None = None
    """Precision of the forward pass in training; None: not recorded. Released networks compute in
    float32."""
    outside_hu: int = Field(-1024, ge=-MAX_HU, le=MAX_HU)
    """Value given to voxels outside the body mask."""
    regularizers: list[dict[str, Any]] = Field(default_factory=list)
    learned_strengths: dict[str, float] = Field(default_factory=dict)
    """Strengths that training learned, at its end, by the regularizer's name."""
    regions: list[str] = Field(default_factory=list)
    train_cases: list[str] = Field(default_factory=list)
    validation_cases: list[str] = Field(default_factory=list)
    test_cases: list[str] = Field(default_factory=list)
    validation_mae_hu: float | None = None

    @model_validator(mode="after")
    def _consistent(self) -> ModelDescription:
        sides = 2 if self.dimensions == "2.5d" else 3
        if len(self.patch_size) != sides:
            raise ValueError(
                f"patch_size must have {sides} numbers for {self.dimensions}, "
                f"got {len(self.patch_size)}"
            )
        if self.slices % 2 == 0:
            raise ValueError(f"slices must be odd, got {self.slices}")
        if math.prod(self.patch_size) > MAX_VOXELS:
            raise ValueError(f"patch_size {self.patch_size} has more than {MAX_VOXELS} voxels")
        return self

    def save(self, path: Path) -> None:
        """Write ``model.json``."""
        write_whole(path, canonical_json(self.as_json()))

    @classmethod
    def load(cls, path: Path) -> ModelDescription:
        """Read ``model.json``."""
        return cls.model_validate_json(path.read_text())
