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
"""Structures of ``labels.json`` whose HU overlap: a threshold sees them as one."""


class StructureRule(Section):
    """A structure that a threshold can find, and the true labels it stands for."""

    low_hu: float
    """Lowest HU that belongs to it."""
    high_hu: float
    """First HU that no longer does."""
    labels: tuple[str, ...]
    """``structure`` entries of ``labels.json`` that count as it."""

    @model_validator(mode="after")
    def _ordered(self) -> StructureRule:
        if self.low_hu >= self.high_hu:
            raise ValueError("low_hu must be below high_hu")
        return self


def _rule(low_hu: float, high_hu: float, *labels: str) -> StructureRule:
    return StructureRule(low_hu=low_hu, high_hu=high_hu, labels=labels)


def default_structures() -> dict[str, StructureRule]:
    """The structures of the digital patients that a threshold can tell apart.

    Between lung and fat lies what voxels at the skin average to: it belongs to neither.
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
    """What it is called in tables."""
    seed: int = 0
    """Added to the chain's seed; 0 with the chain's own method would change nothing."""
    registration: dict[str, Any] = Field(default_factory=dict)
    """Keys of the section ``registration`` that differ from the chain's (``{method: lncc}``);
    not those of the working grid."""


class EvaluationParams(Section):
    """How synthetic CTs of unseen patients are scored."""

    profile: Literal["synthrad2025_container", "synthrad2025_metrics"] = "synthrad2025_container"
    """Intensity range of PSNR and MS-SSIM."""
    metrics: tuple[str, ...] = (
        "mae_hu", "me_hu", "psnr_db", "ms_ssim", "hu_bands", "dose_surrogates",
    )  # fmt: skip
    """Members of ``tasks/evaluation/metrics``."""
    metric_options: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Metric to its parameters, e.g. the clinic's ``stopping_power`` curve."""
    checks: tuple[str, ...] = (
        "identity", "offset", "detail", "bone_range", "lost_structure", "copied", "mask_cover",
        "mask_air",
    )  # fmt: skip
    """Members of ``tasks/evaluation/checks``, asked about the model's output."""
    check_options: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Check to its limits."""
    source_consistency: bool = True
    """Also ask whether each method's output shows the anatomy of the source scan itself."""
    baselines: tuple[str, ...] = ("constant", "lookup", "linear", "unregistered", "raw")
    """Members of ``tasks/evaluation/baselines``, each where its source modality fits."""
    tta: bool = False
    """Also predict flipped in y and x: their mean is scored, their spread is the uncertainty."""
    coverage: float = Field(0.9, gt=0, lt=1)
    """Nominal coverage of the conformal intervals."""
    guarantee: Literal["mean", "risk_control"] = "mean"
    """Whether intervals aim at the nominal coverage or stay above it (wider, for many patients)."""
    floor: tuple[FloorEntry, ...] = ()
    """Other alignments of the reference, each costing one registration a case: how far the
    reference itself moves between them is printed beside every MAE. Empty: not measured."""
    score_suspect: bool = True
    """Score against a moved CT that registration's gate calls suspect (failed ones never are)."""
    structures: dict[str, StructureRule] = Field(default_factory=default_structures)
    """Found by HU thresholds and compared with the true labels (digital patients)."""
    segmenter: Literal["none", "thresholds", "small", "totalsegmentator"] = "thresholds"
    """What finds structures in an sCT: nothing, HU thresholds (digital patients), a small network
    trained on each fold's training CTs and label maps, or the user's TotalSegmentator."""
    segmenter_steps: int = Field(150, ge=1)
    """Training steps of the small segmenter, eight patches of 64 x 64 each."""
    segmenter_width: int = Field(16, ge=4)
    """Channels of its finest resolution."""
    missing_structures: Literal["as_published", "penalised"] = "penalised"
    """Distance of a structure that the sCT has lost: dropped, or the image's diagonal."""
    surface_distances: bool = False
    """Also HD95 and surface Dice of the structures; thresholded specks make them large."""
    surface_tolerance_mm: float = Field(2.0, gt=0)
    """Surface Dice counts surface within this distance [mm]."""
    bootstrap_draws: int = Field(2000, ge=100)
    """Resamplings of patients behind each interval."""
