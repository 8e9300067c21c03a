"""The ``export`` section of ``params.yaml``: conditions and formats of a release."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from synthct.data.section import Section
from synthct.tasks.training.params import PlugIn


class GateParams(Section):
    """Conditions of a release, all measured on unseen patients.

    The limits are judgements, not results. A model that fails one of them is not released.
    """

    min_cases: int = Field(10, ge=1)
    """Smallest number of cases. Bootstrap intervals of fewer are too narrow."""
    max_ratio: float = Field(1.0, gt=0)
    """The 95 % interval of MAE(model) / MAE(best baseline) must lie below this ratio. At 1 it
    excludes that there is no gain. The best baseline is the one of lowest mean MAE on the same
    cases."""
    reference: Literal["registered", "truth"] = "registered"
    """CT that errors are measured against; ``truth`` exists for digital patients only."""
    max_suspect_share: float = Field(0.25, ge=0, le=1)
    """Largest share of the cases that fail one of ``checks``."""
    checks: tuple[str, ...] = (
        "identity", "offset", "bone_range", "lost_structure", "copied", "mask_cover", "mask_air",
    )  # fmt: skip
    """Checks of the evaluation that count. Blur (``detail``) is reported but does not count: an
    image that is trained by its mean error is smoother than a CT."""
    when_refused: Literal["withhold", "demonstration"] = "withhold"
    """What happens to a refused model. ``demonstration`` writes its folder all the same: card,
    terminal, report and every prediction made with it say that it is not a release, and why."""


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
    shrink: tuple[PlugIn, ...] = ()
    """Smaller forms of every network, ``foldK.NAME.onnx``, by name of a shrinker with its options:
    ``low_rank``, ``merged_channels``, ``weight_bits``, ``sparse_storage``. The card shows what each
    saves and costs; ``predict --fast`` and ``--small`` choose among them."""
    max_shrink_cost_hu: float = Field(1.0, gt=0)
    """Largest increase of the MAE on unseen windows by a smaller form [HU]. Above it, the form is
    left out of the release, and so is one that neither shrinks the file nor saves arithmetic."""
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

    @model_validator(mode="after")
    def _forms_by_name(self) -> ExportParams:
        names = [entry.name for entry in self.shrink]
        if len(set(names)) < len(names):
            raise ValueError("shrink: a shrinker is listed once; its name is that of the form")
        return self

    @model_validator(mode="after")
    def _no_clearance_for_a_demonstration(self) -> ExportParams:
        if self.cleared_for and self.gate.when_refused == "demonstration":
            raise ValueError(
                "cleared_for: a model that may be written without passing the gate "
                "(gate.when_refused: demonstration) cannot be cleared for clinical use"
            )
        return self
