"""The ``export`` section of ``params.yaml``: conditions and formats of a release."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from synthct.data.section import Section

Baseline = Literal["constant", "lookup", "linear", "two_point", "raw"]
"""Naive baselines of the evaluation that a model can be compared with."""


class GateParams(Section):
    """The model's mean MAE on unseen patients, compared with a baseline on the same cases."""

    max_ratio: float = Field(1.0, gt=0)
    """Largest ratio of the model's MAE to the baseline's that is released."""
    mr_baseline: Baseline = "lookup"
    """Baseline for MR: the intensity look-up fitted on the training patients."""
    cbct_baseline: Baseline = "linear"
    """Baseline for CBCT: the linear calibration fitted on the training patients."""
    reference: Literal["registered", "truth"] = "registered"
    """CT that errors are measured against; ``truth`` exists for digital patients only."""
    min_cases: int = Field(1, ge=1)
    """Smallest number of cases scored with both methods."""

    def baseline(self, source: str) -> str:
        """The baseline of a source."""
        return self.mr_baseline if source == "mr" else self.cbct_baseline


class ParityParams(Section):
    """Agreement of exported networks with the trained one, on windows of real cases."""

    windows: int = Field(8, ge=1)
    """Windows compared for each fold, spread over the body of an unseen scan."""
    max_difference: float = Field(1e-4, gt=0)
    """Largest difference [network units]."""
    max_difference_hu: float = Field(1.0, gt=0)
    """Largest difference [HU]."""


class FormatParams(Section):
    """Further formats, beside ONNX and safetensors. Each takes time for each fold.

    The same parity limits apply to all except ``int8``, whose cost is measured and limited.
    """

    torch_export: bool = False
    """``foldK.pt2``: a ``torch.export`` program, for use with PyTorch."""
    torchscript: bool = False
    """``foldK.ts``: TorchScript by tracing, for C++ and older PyTorch."""
    int8: Literal["none", "dynamic", "static"] = "none"
    """``foldK.int8.onnx``: 8-bit weights. Activations are scaled at run time (``dynamic``) or once,
    on windows of training cases (``static``)."""
    calibration_windows: int = Field(32, ge=1)
    """Windows of training cases from which ``static`` determines the range of activations."""
    max_int8_cost_hu: float = Field(10.0, gt=0)
    """Largest increase of the MAE on unseen windows by 8 bits [HU]. Above it, the 8-bit network is
    left out of the release."""


class DistilParams(Section):
    """One network trained on the ensemble's predictions, about as fast as one fold."""

    steps: int = Field(2000, ge=1)
    """Optimizer steps, from the first fold's weights."""
    batch: int = Field(8, ge=1)
    """Patches per step."""
    learning_rate: float = Field(1e-3, gt=0)
    """Highest learning rate of AdamW; it decreases to 0 along a cosine."""


class ExportParams(Section):
    """What a release contains, and when a model is released."""

    gate: GateParams = GateParams()
    parity: ParityParams = ParityParams()
    formats: FormatParams = FormatParams()
    distil: DistilParams | None = None
    """Also train one network in place of all folds (``predict --student``). The card says how much
    worse it is on unseen patients. Null: none."""
    domain_cases: int = Field(40, ge=1)
    """Training cases whose appearance is recorded, so that ``predict`` can report scans unlike
    them."""
    cleared_for: str = ""
    """Who cleared the model for clinical use, and for what. Empty: the release, its card and every
    series made with it say "not for clinical use"."""
    opset: int = Field(18, ge=18, le=23)
    """ONNX operator set. ONNX Runtime reads 18 since version 1.14."""
    intended_use: str = (
        "Research on synthetic CT for radiotherapy planning and adaptation in the body regions "
        "and with the kind of scanner listed under data."
    )
    """Intended use, printed on the model card."""
