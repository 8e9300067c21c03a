"""The ``ingestion`` section of ``params.yaml``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field, field_validator

from synthct.data.errors import did_you_mean
from synthct.data.section import REGIONS, Section

if TYPE_CHECKING:
    from synthct.data.volume import Modality


class BodyThresholds(Section):
    """Fraction of the intensity range above which a voxel counts as body, by modality."""

    ct: float = Field(0.45, gt=0, lt=1)
    """For CT."""
    mr: float = Field(0.12, gt=0, lt=1)
    """For MR."""
    cbct: float = Field(0.4, gt=0, lt=1)
    """For cone-beam CT."""

    def of(self, modality: Modality) -> float:
        """The threshold of a modality."""
        return float(getattr(self, modality.value.lower()))


class BodyParams(Section):
    """The body outline: threshold, opening, large components, closing, filling of holes."""

    threshold: BodyThresholds = BodyThresholds()
    by_region: dict[str, BodyThresholds] = Field(default_factory=dict)
    """Other thresholds for a region, for example ``{head-neck: {mr: 0.3}}``."""
    opening_mm: float = Field(4.0, ge=0, le=100, allow_inf_nan=False)
    """Radius of the opening, which removes couch plates, wires and noise."""
    closing_mm: float = Field(6.0, ge=0, le=100, allow_inf_nan=False)
    """Radius of the closing, which fills nostrils, skin folds and dark skin."""
    thin_parts_mm: float = Field(100.0, ge=0, le=1000, allow_inf_nan=False)
    """What the opening removed is kept where it is attached to the body and not longer than this
    along any axis: nose, ears, fingers. Couch plates, masks and wires are longer. 0: nothing is
    kept."""
    keep_fraction: float = Field(0.2, gt=0, le=1)
    """Components of at least this fraction of the largest one are kept, such as arms and legs."""

    @field_validator("by_region")
    @classmethod
    def _regions_exist(cls, named: dict[str, BodyThresholds]) -> dict[str, BodyThresholds]:
        for region in named:
            if region not in REGIONS:
                raise ValueError(f"{region!r} is not a region ({did_you_mean(region, REGIONS)})")
        return named

    def of(self, region: str) -> BodyThresholds:
        """The thresholds of a region."""
        return self.by_region.get(region, self.threshold)


class IngestionParams(Section):
    """How scans are checked and the body is outlined."""

    body: BodyParams = BodyParams()
    guards: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Limits of ingestion guards by name. Every guard runs."""
    released: list[str] = Field(default_factory=list)
    """Quarantined scans that a person has looked at and accepted, as ``PATIENT/SCAN``."""
