"""The ``training`` section of ``params.yaml``. The defaults are the recipe of paper 49."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from synthct.data.section import Section
from synthct.tasks.models.description import SourceScaling, TargetScaling

Source = Literal["mr", "cbct"]
Region = Literal["head-neck", "thorax", "abdomen", "other"]


class PlugIn(Section):
    """A plug-in by name; every other key is one of its parameters."""

    model_config = ConfigDict(extra="allow")

    name: str
    """Registered name."""

    @property
    def options(self) -> dict[str, Any]:
        """The plug-in's own parameters."""
        return dict(self.model_extra or {})


class WeightedPlugIn(PlugIn):
    """A loss or a regularizer: its strength stands here, never in its class."""

    weight: float = Field(1.0, ge=0, allow_inf_nan=False)
    """Strength; for a perturbation the probability with which a sample is perturbed."""


class SourceRecipe(Section):
    """What differs between sources."""

    patch_size: tuple[int, ...]
    """Training patch and sliding window (Y, X), or (Z, Y, X) for 3-D networks [voxels]."""
    source_scaling: SourceScaling = SourceScaling()
    """How intensities become the network's input."""
    steps: int | None = Field(None, ge=1)
    """Optimizer steps of this source's networks. Null: ``training.steps``."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len(self.patch_size) not in (2, 3) or min(self.patch_size) < 1:
            raise ValueError("patch_size must be 2 or 3 positive numbers of voxels")
        return self


class MrRecipe(SourceRecipe):
    """MR: intensities have no unit."""

    patch_size: tuple[int, ...] = (320, 320)


class CbctRecipe(SourceRecipe):
    """Cone-beam CT: uncalibrated HU."""

    patch_size: tuple[int, ...] = (256, 256)
    source_scaling: SourceScaling = SourceScaling(kind="min_p99.5")


class OptimizerParams(Section):
    """AdamW."""

    learning_rate: float = Field(1e-3, gt=0)
    """At its highest."""
    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = (
        0.9,
        0.999,
    )
    """Decay of the running mean and of the running square of the gradient."""
    weight_decay: float = Field(1e-3, ge=0)
    """Decoupled decay of all weights, per step and learning rate."""
    schedule: Literal["halving", "cosine", "one_cycle"] = "halving"
    """``halving``: every ``halve_every`` steps. ``cosine``: to 0 at the last step. ``one_cycle``:
    up over the first ``warm_up`` of the run, then cosine to 0."""
    halve_every: int = Field(25_000, ge=1)
    """Steps between two halvings."""
    halving: float = Field(0.5, gt=0, le=1)
    """What the learning rate is multiplied by each time."""
    warm_up: float = Field(0.3, ge=0, lt=1)
    """Rising part of ``one_cycle``, as a fraction of the run."""
    clip_norm: float | None = Field(None, gt=0)
    """Largest length of the gradient; longer ones are scaled down. Null: no clipping."""
    ema_decay: float | None = Field(None, gt=0, lt=1)
    """Validate and keep an exponential moving average of the weights. Null: the weights."""


class FineTuneParams(Section):
    """Training goes on with the cases of one region, from the weights of all regions."""

    region: Region
    """Whose networks these are: patients of other regions are no longer validated nor tested."""
    steps: int = Field(20_000, ge=1)
    """Optimizer steps after the joint training."""
    learning_rate: float = Field(2e-4, gt=0)
    """At its highest; the schedule is the optimizer's, anew."""


class TrainingParams(Section):
    """One network per source modality and fold."""

    sources: tuple[Source, ...] = ("mr", "cbct")
    """Source modalities to train for."""
    folds: int = Field(5, ge=2)
    """Folds over patients, stratified by region; as many as there are patients at most."""
    validation_fraction: float = Field(0.2, gt=0, lt=1)
    """Of each fold's training patients, held back to choose the best weights. Where fewer than
    ``smallest_training`` patients would be left, the upper ``validation_fraction`` of the slices
    of every training case is held back instead (``folds.json`` says so: ``slab``)."""
    smallest_training: int = Field(3, ge=1)
    """Fewest training patients that holding back whole patients may leave."""
    use_suspect: bool = False
    """Also train and score on pairs whose registration the gate found suspect."""
    suspect_weight: float = Field(0.25, gt=0, le=1)
    """How often a suspect pair is drawn relative to one that passed, where ``use_suspect`` lets it
    in."""

    network: PlugIn = PlugIn(name="unet_plus_plus")
    """Architecture and its options (``slices``, ``width``, ``norm``, ``activation``)."""
    losses: tuple[WeightedPlugIn, ...] = (WeightedPlugIn(name="l1"),)
    """Data terms, summed with their weights; in network units (CT scaled to [-1, 1])."""
    regularizers: tuple[WeightedPlugIn, ...] = ()
    """In the order in which they act."""

    mr: MrRecipe = MrRecipe()
    """For MR sources."""
    cbct: CbctRecipe = CbctRecipe()
    """For cone-beam CT sources."""
    target_scaling: TargetScaling = TargetScaling()
    """HU range that is learned."""

    steps: int = Field(100_000, ge=1)
    """Optimizer steps of each network."""
    batch: int = Field(32, ge=1)
    """Patches per step."""
    fine_tune: FineTuneParams | None = None
    """Go on with one region. The joint networks are the same units with or without it: several
    workspaces, one a region, share them. Null: one network for all regions."""
    flips: tuple[Literal["y", "x"], ...] = ("y", "x")
    """In-plane axes along which patches are flipped with probability one half."""
    optimizer: OptimizerParams = OptimizerParams()
    """Optimizer and its schedule."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Of the forward pass; weights and losses are always float32."""
    compile: bool = False
    """``torch.compile``: a minute or so up front, then faster steps; not with regularizers that
    read or perturb layers."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """``auto``: CUDA where there is one."""

    validation_every: int = Field(1000, ge=1)
    """Steps between validations; the last step always has one."""
    validation_slices: int | None = Field(None, ge=1)
    """Slices of each validation case, evenly spread. Null: all of them."""
    history_every: int = Field(100, ge=1)
    """Steps that one row of ``history.csv`` averages over."""
    checkpoint_every: int = Field(1000, ge=1)
    """Steps between checkpoints: at most so many are lost by a kill."""
    max_ram_gb: float = Field(4.0, gt=0)
    """Decoded voxels kept in memory per network in training [GB]."""
    max_scratch_gb: float = Field(50.0, ge=0)
    """Decoded voxels beyond ``max_ram_gb`` kept in a scratch file per network in training [GB];
    a tenth of the disk stays free. 0: they are decoded again each time."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not self.sources or len(set(self.sources)) < len(self.sources):
            raise ValueError("sources must name each source once, and at least one")
        if not self.losses or not any(loss.weight > 0 for loss in self.losses):
            raise ValueError("losses must hold at least one of weight above 0")
        return self

    def of_source(self, source: Source) -> TrainingParams:
        """The same params with what is particular to this source filled in."""
        return self.model_copy(update={"steps": self.recipe(source).steps or self.steps})

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
