"""The ``evaluation`` section of ``params.yaml``."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from synthct.data.section import Section
from synthct.tasks.evaluation.profiles import HU_BANDS

SOFT_STRUCTURES = (
    "muscle",
    "organ",
    "vessel",
    "bowel",
    "brain",
    "fluid",
    "cartilage",
    "skin",
)
"""Structures of ``labels.json`` whose HU overlap; a threshold cannot separate them."""


class StructureRule(Section):
    """A structure that a threshold can find, and the true labels that it corresponds to."""

    low_hu: float
    """Lowest value of the structure [HU]."""
    high_hu: float
    """First value above it that no longer belongs to the structure [HU]."""
    labels: tuple[str, ...]
    """Values of ``structure`` in ``labels.json`` that count as this structure."""

    @model_validator(mode="after")
    def _ordered(self) -> StructureRule:
        if self.low_hu >= self.high_hu:
            raise ValueError("low_hu must be below high_hu")
        return self


def _rule(low_hu: float, high_hu: float, *labels: str) -> StructureRule:
    return StructureRule(low_hu=low_hu, high_hu=high_hu, labels=labels)


def default_structures() -> dict[str, StructureRule]:
    """The structures of the digital patients that thresholds can separate.

    The range between lung and fat is left out: voxels at the skin average to it.
    """
    lowest, metal = HU_BANDS["air"][0], HU_BANDS["metal"][0]
    return {
        "bone": _rule(150, metal, "bone", "tooth"),
        "lung": _rule(-900, -500, "lung"),
        "air": _rule(lowest, -900, "air"),
        "fat": _rule(-150, -30, "fat"),
        "soft": _rule(-30, 150, *SOFT_STRUCTURES),
    }


class FloorEntry(Section):
    """Another way to align the same pair."""

    name: str
    """Its name in tables."""
    seed: int = 0
    """Added to the seed of the pipeline; 0 with the same method would change nothing."""
    registration: dict[str, Any] = Field(default_factory=dict)
    """Keys of the section ``registration`` that differ (``{method: lncc}``); the working grid
    cannot."""


class EvaluationParams(Section):
    """How synthetic CTs of unseen patients are scored."""

    profile: Literal["synthrad2025_container", "synthrad2025_metrics"] = "synthrad2025_container"
    """Intensity range of PSNR and MS-SSIM."""
    metrics: tuple[str, ...] = (
        "mae_hu", "me_hu", "psnr_db", "ms_ssim", "hu_bands", "dose_surrogates",
    )  # fmt: skip
    """Image metrics by name."""
    metric_options: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Options of metrics by name, for example the clinic's ``stopping_power`` curve."""
    checks: tuple[str, ...] = (
        "identity", "offset", "detail", "bone_range", "lost_structure", "copied", "mask_cover",
        "mask_air",
    )  # fmt: skip
    """Checks of the model's output by name."""
    check_options: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Limits of checks by name."""
    source_consistency: bool = True
    """Also measure whether each output shows the anatomy of its own source scan."""
    baselines: tuple[str, ...] = (
        "constant", "lookup", "linear", "two_point", "unregistered", "raw",
    )  # fmt: skip
    """Simple methods by name, each used for the sources that it applies to."""
    tta: bool = False
    """Also predict inputs mirrored in y and x. Their mean is scored, and their spread is the
    uncertainty."""
    coverage: float = Field(0.9, gt=0, lt=1)
    """Nominal coverage of the conformal intervals."""
    guarantee: Literal["mean", "risk_control"] = "mean"
    """``mean``: mean coverage is nominal. ``risk_control``: coverage is nominal or more, which
    needs wider intervals and more patients."""
    floor: tuple[FloorEntry, ...] = ()
    """Other alignments of the reference. Their difference is reported with every MAE.
    Each costs one registration per case. Empty: not measured."""
    stability: bool = False
    """Also score with masks one voxel smaller and larger and with the reference one voxel further
    along each axis, and report the agreement (ICC) of every score. Takes six times the time of the
    image metrics of the model."""
    score_suspect: bool = True
    """Also score against moved CTs that the registration gate calls suspect. Failed ones are never
    used."""
    structures: dict[str, StructureRule] = Field(default_factory=default_structures)
    """Structures that HU thresholds find, compared with the true labels of digital patients."""
    segmenter: Literal["none", "thresholds", "small", "totalsegmentator"] = "thresholds"
    """How structures of a synthetic CT are found: not at all, by HU thresholds (digital patients),
    by a small network trained on each fold's training patients, or by TotalSegmentator."""
    segmenter_steps: int = Field(150, ge=1)
    """Training steps of the small segmenter, with eight patches of 64 x 64 voxels each."""
    segmenter_width: int = Field(16, ge=4)
    """Channels of the small segmenter at its finest resolution."""
    missing_structures: Literal["as_published", "penalised"] = "penalised"
    """HD95 of a structure that the synthetic CT lacks: dropped, or the image's diagonal."""
    surface_distances: bool = False
    """Also compute HD95 and surface Dice of the structures. Specks found by thresholds make them
    large."""
    surface_tolerance_mm: float = Field(2.0, gt=0)
    """Distance within which surface Dice counts surfaces as equal [mm]."""
    bootstrap_draws: int = Field(2000, ge=100)
    """Bootstrap samples of patients for each interval."""
