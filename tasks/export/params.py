"""What a model must prove before it may leave the pipeline."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from synthct.data.section import Section

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

    def baseline(self, source: str) -> str:
        """The baseline of a source."""
        return self.mr_baseline if source == "mr" else self.cbct_baseline


class ParityParams(Section):
    """ONNX Runtime against the trainer's network, on real windows of the cohort."""

    windows: int = Field(8, ge=1)
    """Windows compared for each fold, spread over the body of one unseen scan."""
    max_difference: float = Field(1e-4, gt=0)
    """Largest difference in network units ([-1, 1])."""
    max_difference_hu: float = Field(1.0, gt=0)
    """Largest difference in HU."""


class FormatParams(Section):
    """Forms beside ONNX and safetensors, which every release holds. Each takes time for each fold.

    All are held to the same parity, but for ``int8``, whose cost is measured and limited.
    """

    torch_export: bool = False
    """``foldK.pt2``: a ``torch.export`` program, for who builds on PyTorch."""
    torchscript: bool = False
    """``foldK.ts``: TorchScript by tracing, for C++ and older PyTorch."""
    int8: Literal["none", "dynamic", "static"] = "none"
    """``foldK.int8.onnx``: 8-bit weights; activations scaled when they are met (``dynamic``) or
    once, on windows of training cases (``static``)."""
    calibration_windows: int = Field(32, ge=1)
    """Windows of training cases that ``static`` reads the activations' ranges from."""
    max_int8_cost_hu: float = Field(10.0, gt=0)
    """Largest rise of the mean absolute error [HU] on unseen windows that 8 bits may cost; the
    8-bit graph is left out of the release otherwise."""


class DistilParams(Section):
    """One network that learned the ensemble's answers: about as fast as a fold alone."""

    steps: int = Field(2000, ge=1)
    """Optimizer steps, from the first fold's weights."""
    batch: int = Field(8, ge=1)
    """Patches per step."""
    learning_rate: float = Field(1e-3, gt=0)
    """AdamW's at its highest; falls to 0 along a cosine."""


class ExportParams(Section):
    """The ``export`` section of ``params.yaml``."""

    gate: GateParams = GateParams()
    parity: ParityParams = ParityParams()
    formats: FormatParams = FormatParams()
    distil: DistilParams | None = None
    """Also train a student of the ensemble (``predict --student``). Null: none. The card says
    what it costs on patients that it never saw."""
    domain_cases: int = Field(40, ge=1)
    """Training cases whose appearance is summed up, so that ``predict`` can say when a scan is
    unlike them."""
    cleared_for: str = ""
    """Who cleared this model for clinical use, and for what. Empty: the release, its card and
    every series made with it say "not for clinical use"."""
    opset: int = Field(18, ge=18, le=23)
    """ONNX operator set; 18 is what every ONNX Runtime since 1.14 reads."""
    intended_use: str = (
        "Research on synthetic CT for radiotherapy planning and adaptation in the body regions "
        "and with the kind of scanner listed under data."
    )
    """Sentence for the model card."""
