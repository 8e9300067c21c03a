"""Optional inputs of the comparison of two files, and their consistency."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from synthct.data.errors import UsageError
from synthct.tasks.evaluation.dose.gamma import Search
from synthct.tasks.evaluation.segmenter.ask import check_segmenter
from synthct.tasks.evaluation.structures.scores import Policy


@dataclass(frozen=True)
class Attachments:
    """Optional inputs and settings besides prediction, reference and mask.

    Parameters
    ----------
    segmentations
        Folder with the sides ``prediction``, ``reference`` and perhaps ``source``: a folder of
        masks each, or a label map each with ``labels.json``.
    segmenter
        Instead of ``segmentations``: what segments both CTs (``thresholds``,
        ``totalsegmentator``, or the folder of a trained small segmenter).
    source, source_modality
        The MR or CBCT that the prediction was made from; ``mr`` or ``cbct``.
    dose_prediction, dose_reference
        RTDOSE files, or images in Gy, planned on each CT.
    target, prescription_gy
        Structure of the reference side and prescribed dose [Gy] for Paddick's conformity.
    curves
        ``{"electron_density": nodes, "stopping_power": nodes}`` of the clinic.
    other_references
        The same reference under other alignments. The MAE between alignments is the floor of every
        MAE against them.
    maps
        Folder for error maps (``tasks/evaluation/maps.py``).
    device
        ``cuda`` or ``cpu``: similarity is computed with torch there; empty: with numpy.
    gamma
        Search of the gamma index: ``interpolated`` or ``discrete``.
    prediction_series, reference_series, source_series
        Number, description or UID of the series, if a folder or zip of DICOM holds several.
    policy
        HD95 of a structure that the prediction lacks.
    tolerance_mm
        Distance within which surface Dice and completeness count surfaces as equal [mm].

    Raises
    ------
    UsageError
        Inputs contradict each other, or one lacks its counterpart.
    """

    segmentations: Path | None = None
    segmenter: str = ""
    source: Path | None = None
    source_modality: str = "mr"
    dose_prediction: Path | None = None
    dose_reference: Path | None = None
    target: str = ""
    prescription_gy: float = 0.0
    curves: dict[str, Any] | None = None
    other_references: tuple[Path, ...] = ()
    maps: Path | None = None
    device: str = ""
    gamma: Search = "interpolated"
    prediction_series: str = ""
    reference_series: str = ""
    source_series: str = ""
    policy: Policy = "penalised"
    tolerance_mm: float = 2.0

    def __post_init__(self) -> None:
        if (self.dose_prediction is None) != (self.dose_reference is None):
            raise UsageError(
                "only one dose is given",
                rule="two doses are compared: one planned on the prediction, one on the reference",
                remedy="give both --dose-prediction and --dose-reference",
                code="dose-alone",
            )
        if self.source_modality not in ("mr", "cbct"):
            raise UsageError(
                f"the modality of the source is given as {self.source_modality!r}",
                rule="a prediction is made from an MR or a cone-beam CT",
                where="source_modality",
                remedy="give the scan that the prediction was made from",
                code="wrong-modality",
            )
        if self.segmenter and self.segmentations is not None:
            raise UsageError(
                "both --segmentations and --segmenter are given",
                rule="structures come either from files or from a segmenter",
                remedy="leave one of them out",
                code="two-segmentations",
            )
        if self.segmenter:
            check_segmenter(self.segmenter)
        if bool(self.target) != (self.prescription_gy > 0):
            raise UsageError(
                "only one of --target and --prescription-gy is given",
                rule="conformity needs a target structure and its prescription",
                remedy="give both --target and --prescription-gy",
                code="target-alone",
            )
