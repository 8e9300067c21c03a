"""``model.json``: what is needed, in addition to the weights, to run a network on a scan."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from synthct.data.files import canonical_json, write_whole
from synthct.data.section import Section


class SourceScaling(Section):
    """How intensities of the source are scaled for the network."""

    kind: Literal["zscore_in_mask", "min_p99.5"] = "zscore_in_mask"
    """``zscore_in_mask``: (x - mean) / SD over the body. ``min_p99.5``: the minimum and the 99.5th
    percentile over the body are mapped to [-1, 1], and values beyond are clipped."""


class TargetScaling(Section):
    """CT clipped to [low, high] HU and mapped linearly to [-1, 1]."""

    low_hu: float = -1024.0
    """CT number that becomes -1 [HU]."""
    high_hu: float = 3071.0
    """CT number that becomes 1 [HU]."""


class ModelDescription(Section):
    """One trained network, without its weights."""

    format: Literal[1] = 1
    source: Literal["mr", "cbct"]
    fold: int
    network: dict[str, Any]
    """``{"name": ..., options...}`` of ``tasks/models/networks``."""
    dimensions: Literal["2.5d", "3d"] = "2.5d"
    slices: int = 5
    """Neighbouring slices that are input channels (2.5-D; odd); the centre one is predicted."""
    patch_size: tuple[int, ...]
    """Sliding window (Y, X) for 2.5-D, (Z, Y, X) for 3-D [voxels]; a multiple of ``divisor``."""
    divisor: int = 32
    """Window sizes must be multiples of this (the network's total down-sampling)."""
    spacing_mm: tuple[float, float, float]
    """Voxel size (z, y, x) [mm] the network was trained at."""
    margin_mm: float = 15.0
    """Margin around the body in training (``margin_mm`` of the registration)."""
    source_scaling: SourceScaling
    target_scaling: TargetScaling
    flips: tuple[Literal["y", "x"], ...] = ("y", "x")
    """In-plane axes that were flipped in training, and may be flipped in test-time augmentation."""
    outside_hu: int = -1024
    """Value given to voxels outside the body mask."""
    regularizers: list[dict[str, Any]] = Field(default_factory=list)
    regions: list[str] = Field(default_factory=list)
    train_cases: list[str] = Field(default_factory=list)
    validation_cases: list[str] = Field(default_factory=list)
    test_cases: list[str] = Field(default_factory=list)
    validation_mae_hu: float | None = None

    def save(self, path: Path) -> None:
        """Write ``model.json``."""
        write_whole(path, canonical_json(self.as_json()))

    @classmethod
    def load(cls, path: Path) -> ModelDescription:
        """Read ``model.json``."""
        return cls.model_validate_json(path.read_text())
