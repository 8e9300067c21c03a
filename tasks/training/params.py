"""The ``training`` section of ``params.yaml``. The defaults follow arXiv:2510.21358."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from synthct.data.section import Section
from synthct.tasks.models.description import SourceScaling, TargetScaling

Source = Literal["mr", "cbct"]
Region = Literal["head-neck", "thorax", "abdomen", "other"]


class PlugIn(Section):
    """A plug-in by name. Every other key is one of its options."""

    model_config = ConfigDict(extra="allow")

    name: str
    """Name in the registry."""

    @property
    def options(self) -> dict[str, Any]:
        """The plug-in's own parameters."""
        return dict(self.model_extra or {})


class WeightedPlugIn(PlugIn):
    """A loss or a regularizer by name and strength. Every other key is one of its options."""

    weight: float = Field(1.0, ge=0, allow_inf_nan=False)
    """Strength. For a perturbation, the probability with which a sample is perturbed."""


class RegularizerEntry(WeightedPlugIn):
    """A regularizer by name and strength. Every other key is one of its options."""

    weight: float = Field(ge=0, allow_inf_nan=False)
    """Strength, which has no default: useful ones differ by orders of magnitude. For a
    perturbation, the probability with which a sample is perturbed."""


class SourceRecipe(Section):
    """Settings that differ between sources."""

    patch_size: tuple[int, ...]
    """Size of training patch and sliding window, (Y, X), or (Z, Y, X) for 3-D networks [voxels]."""
    source_scaling: SourceScaling = SourceScaling()
    """How intensities are scaled for the network."""
    steps: int | None = Field(None, ge=1)
    """Optimizer steps of this source's networks. Null: ``training.steps``."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len(self.patch_size) not in (2, 3) or min(self.patch_size) < 1:
            raise ValueError("patch_size must be 2 or 3 positive numbers of voxels")
        return self


class MrRecipe(SourceRecipe):
    """Settings for MR, whose intensities have no unit."""

    patch_size: tuple[int, ...] = (320, 320)
    """Size of training patch and sliding window, (Y, X), or (Z, Y, X) for 3-D networks [voxels]."""

    @model_validator(mode="after")
    def _uncalibrated(self) -> Self:
        if self.source_scaling.kind == "two_point":
            raise ValueError("source_scaling two_point is for cbct: MR has no HU to calibrate to")
        return self


class CbctRecipe(SourceRecipe):
    """Settings for cone-beam CT, whose HU are not calibrated."""

    patch_size: tuple[int, ...] = (256, 256)
    """Size of training patch and sliding window, (Y, X), or (Z, Y, X) for 3-D networks [voxels]."""
    source_scaling: SourceScaling = SourceScaling(kind="min_p99.5")
    """How intensities are scaled for the network."""
    residual: bool = False
    """The network learns a correction to the calibrated scan, which needs the scaling
    ``two_point``. The correction is then shrunk as far as that lowers the
    error of the validation cases."""
    response_spread: float = Field(0.0, ge=0, le=1)
    """Each patch is mapped as another scanner might show it, by a random increasing curve that
    leaves air and soft tissue unchanged. Standard deviation of the logarithm of its slopes."""

    @model_validator(mode="after")
    def _calibrated(self) -> Self:
        if self.source_scaling.kind != "two_point" and (self.residual or self.response_spread):
            raise ValueError(
                "residual and response_spread need source_scaling: {kind: two_point}, which says "
                "where air and soft tissue are"
            )
        return self


class OptimizerParams(Section):
    """The optimizer and its learning rate."""

    kind: Literal["adamw", "sgd"] = "adamw"
    """``adamw``, or ``sgd`` with momentum, whose steps are as long as the gradients: it needs a
    higher learning rate, and ``orthonormal_filters`` can even out the steps of its layers."""
    learning_rate: float = Field(1e-3, gt=0)
    """Highest learning rate."""
    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = (
        0.9,
        0.999,
    )
    """Decay rates of the running means of the gradient and of its square. The first is the momentum
    of ``sgd``, which has no second."""
    weight_decay: float = Field(1e-3, ge=0)
    """Decay of all weights, per step and learning rate; decoupled with ``adamw``, added to the
    gradient with ``sgd``."""
    schedule: Literal["halving", "cosine", "one_cycle"] = "halving"
    """How the learning rate changes. ``halving``: every ``halve_every`` steps. ``cosine``: to 0 at
    the last step. ``one_cycle``: up during ``warm_up``, then along a cosine to 0."""
    halve_every: int = Field(25_000, ge=1)
    """Steps between two reductions of the learning rate by ``halving``."""
    halving: float = Field(0.5, gt=0, le=1)
    """Factor of each reduction."""
    warm_up: float = Field(0.3, ge=0, lt=1)
    """Rising part of ``one_cycle`` as a fraction of the run."""
    clip_norm: float | None = Field(None, gt=0)
    """Largest norm of the gradient; larger ones are scaled down. Null: no clipping."""
    ema_decay: float | None = Field(None, gt=0, lt=1)
    """Decay of an exponential moving average of the weights, which is then validated and kept.
    Null: no average."""


class FineTuneParams(Section):
    """Training continues with the cases of one region, from the weights for all regions."""

    region: Region
    """Region of the fine-tuned networks. Other regions are not validated or tested."""
    steps: int = Field(20_000, ge=1)
    """Optimizer steps after the joint training."""
    learning_rate: float = Field(2e-4, gt=0)
    """Highest learning rate; the schedule of the optimizer starts again."""
    interpolate: bool = False
    """Also validate weights between the joint and the fine-tuned ones, at 1/4, 1/2 and 3/4 of the
    way, with and without the layers to which the error is most sensitive, and keep the best."""


class TrainingParams(Section):
    """How networks are trained: one for each source and fold."""

    sources: tuple[Source, ...] = ("mr", "cbct")
    """Source modalities to train for."""
    folds: int = Field(5, ge=2)
    """Folds over patients, stratified by region; at most as many as there are patients."""
    test_patients: tuple[tuple[str, ...], ...] = ()
    """Names of the test patients of each fold, instead of ``folds`` of equal size. Every patient
    with a usable pair is in one of them; named patients without one are left out. Empty: folds of
    equal size."""
    validation_fraction: float = Field(0.2, gt=0, lt=1)
    """Fraction of each fold's training patients held back to choose the best weights. Where fewer
    than ``smallest_training`` patients would be left, that fraction of the slices of every
    training case is held back instead, from the top (``slab`` in ``folds.json``)."""
    smallest_training: int = Field(3, ge=1)
    """Smallest number of training patients for which whole patients are held back."""
    use_suspect: bool = False
    """Also train on pairs whose registration is suspect."""
    suspect_weight: float = Field(0.25, gt=0, le=1)
    """How often a suspect pair is drawn relative to one that passed, with ``use_suspect``."""

    network: PlugIn = PlugIn(name="unet_plus_plus")
    """Architecture and its options, such as ``slices``, ``width``, ``norm`` and ``activation``."""
    losses: tuple[WeightedPlugIn, ...] = (WeightedPlugIn(name="l1"),)
    """Losses, added with their weights, in network units: CT is scaled to [-1, 1]."""
    regularizers: tuple[RegularizerEntry, ...] = ()
    """Regularizers, in the order in which they act."""

    mr: MrRecipe = MrRecipe()
    """Settings for MR."""
    cbct: CbctRecipe = CbctRecipe()
    """Settings for cone-beam CT."""
    target_scaling: TargetScaling = TargetScaling()
    """Range of CT numbers that is learned."""

    steps: int = Field(100_000, ge=1)
    """Optimizer steps of each network."""
    batch: int = Field(32, ge=1)
    """Patches per step."""
    fine_tune: FineTuneParams | None = None
    """Continue with one region. Workspaces for several regions share the joint networks. Null: one
    network for all regions."""
    start_from: Literal["pretraining"] | None = None
    """Start from the weights of the stage ``pretraining`` instead of random ones. They are
    validated before the first step too."""
    flips: tuple[Literal["y", "x"], ...] = ("y", "x")
    """In-plane axes along which patches are mirrored with probability 1/2."""
    optimizer: OptimizerParams = OptimizerParams()
    """The optimizer and its schedule."""
    precision: Literal["auto", "float32", "bfloat16"] = "float32"
    """Precision of the forward pass; weights and losses are always float32. ``auto``: bfloat16
    where the GPU or processor of the machine that plans the run has it, float32 elsewhere. The
    networks say which it was (docs/decisions/0012-precision.md)."""
    compile: bool = False
    """Use ``torch.compile``: it takes about a minute, then steps are faster. Not available with
    regularizers that read or perturb layers."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Device; ``auto`` uses CUDA where available."""

    validation_every: int = Field(1000, ge=1)
    """Steps between validations; the last step always has one."""
    validation_slices: int | None = Field(None, ge=1)
    """Slices of each validation case, evenly spaced. Null: all."""
    history_every: int = Field(100, ge=1)
    """Steps averaged in one row of ``history.csv``."""
    checkpoint_every: int = Field(1000, ge=1)
    """Steps between checkpoints; at most this many are lost when the run is killed."""
    max_ram_gb: float = Field(4.0, gt=0)
    """Decoded voxels kept in memory for each network in training [GB]."""
    max_scratch_gb: float = Field(50.0, ge=0)
    """Decoded voxels beyond ``max_ram_gb`` kept in a scratch file for each network [GB]. A tenth of
    the disk stays free. 0: they are decoded again each time."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not self.sources or len(set(self.sources)) < len(self.sources):
            raise ValueError("sources must name each source once, and at least one")
        named = [name for fold in self.test_patients for name in fold]
        if twice := sorted({name for name in named if named.count(name) > 1}):
            raise ValueError(f"test_patients: {', '.join(twice)} is listed twice")
        if len(self.test_patients) == 1 or not all(self.test_patients):
            raise ValueError(
                "test_patients must hold at least two folds, each of one patient or more"
            )
        if not self.losses or not any(loss.weight > 0 for loss in self.losses):
            raise ValueError("losses must hold at least one of weight above 0")
        return self

    def of_source(self, source: Source) -> TrainingParams:
        """The same params with what is particular to this source filled in."""
        update: dict[str, Any] = {"steps": self.recipe(source).steps or self.steps}
        if source == "cbct" and self.cbct.residual:
            update["network"] = self._residual()
        return self.model_copy(update=update)

    def _residual(self) -> PlugIn:
        """The network around the one that the params name, with the change of windows."""
        low, high = self.target_scaling.low_hu, self.target_scaling.high_hu
        from synthct.tasks.models.calibration import WINDOW_HU  # it computes; params load nothing

        gain = (WINDOW_HU[1] - WINDOW_HU[0]) / (high - low)
        shift = (WINDOW_HU[1] + WINDOW_HU[0] - high - low) / (high - low)
        options = {"base": self.network.as_json(), "gain": gain, "shift": shift}
        return PlugIn(name="residual", **options)

    def tuning(self) -> TrainingParams:
        """The params of the steps that fine-tune."""
        assert self.fine_tune is not None
        rate = {"learning_rate": self.fine_tune.learning_rate}
        return self.model_copy(
            update={
                "steps": self.fine_tune.steps,
                "optimizer": self.optimizer.model_copy(update=rate),
                "mr": self.mr.model_copy(update={"steps": None}),
                "cbct": self.cbct.model_copy(update={"steps": None}),
            }
        )

    def recipe(self, source: Source) -> SourceRecipe:
        """What is particular to this source."""
        return self.mr if source == "mr" else self.cbct
