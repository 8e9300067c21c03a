"""What a model must prove before it may leave the pipeline."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tasks.section import Section

Baseline = Literal["constant", "lookup", "linear", "raw"]
"""Naive methods of the evaluation that a model can be held against."""


class GateParams(Section):
    """The model's mean MAE on unseen patients, held against a naive baseline on the same cases."""

    max_ratio: float = Field(1.0, gt=0)
    """Largest model MAE / baseline MAE that is released: 1 means "no worse than naive"."""
    mr_baseline: Baseline = "lookup"
    """Baseline for MR: the intensity look-up fitted on the training patients."""
    cbct_baseline: Baseline = "linear"
    """Baseline for CBCT: the linear calibration fitted on the training patients."""
    reference: Literal["registered", "truth"] = "registered"
    """CT the errors are measured against; ``truth`` exists for digital patients only."""
    min_cases: int = Field(1, ge=1)
    """Fewest scored cases that both methods share."""

    def baseline(self, task: str) -> str:
        """The baseline of a task."""
        return self.mr_baseline if task == "mr" else self.cbct_baseline


class ParityParams(Section):
    """ONNX Runtime against the trainer's network, on real windows of the cohort."""

    windows: int = Field(8, ge=1)
    """Windows compared for each fold, spread over the body of one unseen scan."""
    max_difference: float = Field(1e-4, gt=0)
    """Largest difference in network units ([-1, 1])."""
    max_difference_hu: float = Field(1.0, gt=0)
    """Largest difference in HU."""


class ExportParams(Section):
    """The ``export`` section of ``params.yaml``."""

    gate: GateParams = GateParams()
    parity: ParityParams = ParityParams()
    opset: int = Field(18, ge=18, le=23)
    """ONNX operator set; 18 is what every ONNX Runtime since 1.14 reads."""
    intended_use: str = (
        "Research on synthetic CT for radiotherapy planning and adaptation in the body regions "
        "and with the kind of scanner listed under data."
    )
    """Sentence for the model card."""
