"""The ``pretraining`` section of ``params.yaml``."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from synthct.data.section import Section
from synthct.tasks.training.params import (
    OptimizerParams,
    PlugIn,
    TrainingParams,
    WeightedPlugIn,
)


class ViewParams(Section):
    """How two views of one location in a scan differ. 0 switches a change off."""

    shift_voxels: int = Field(4, ge=0)
    """Largest distance between the windows of both views along an axis [voxels]."""
    contrast: float = Field(0.5, ge=0, le=2)
    """Spread of the logarithm of the slopes of an increasing intensity curve: another sequence or
    kernel."""
    other_contrast: float = Field(0.5, ge=0, le=1)
    """Probability that tissues change their order of brightness as well, as between MR and CT; air
    stays darkest. Features to register two modalities with need it."""
    shading: float = Field(0.2, ge=0, le=1)
    """Largest slow change over the window: a gain of an MR coil, an offset of scatter in a CBCT.
    A CT has none."""
    noise: float = Field(0.1, ge=0, le=1)
    """Largest standard deviation of the noise, as a fraction of that of the body. MR: of both
    channels of a magnitude image."""
    blur_voxels: float = Field(0.7, ge=0, le=5)
    """Largest standard deviation of the smoothing [voxels]."""
    masked: float = Field(0.5, gt=0, lt=1)
    """Fraction of a window that a masked view hides."""
    mask_voxels: int = Field(8, ge=1)
    """Side of a hidden block [voxels]; it hides all slices of a stack."""


class PretrainingParams(Section):
    """How a network is trained on unpaired scans, once for each source and fold."""

    objectives: tuple[WeightedPlugIn, ...] = (WeightedPlugIn(name="tico"),)
    """Objectives, added with their weights."""
    network: PlugIn | None = None
    """Architecture and its options. Null: that of ``training``, which can then start from the
    weights."""
    layers: tuple[str, ...] = ()
    """Layers whose outputs are the features, by name. Empty: the input of the last convolution."""
    views: ViewParams = ViewParams()
    """How views differ."""
    patch_size: tuple[int, ...] | None = None
    """Size of a view, (Y, X), or (Z, Y, X) for 3-D networks [voxels]. Null: that of training."""
    voxels: int = Field(64, ge=4, le=4096)
    """Voxels of each view that are embedded."""
    dimensions: int = Field(64, ge=2, le=4096)
    """Dimensions of the embeddings, behind the projector."""
    teacher_decay: float = Field(0.99, ge=0, lt=1)
    """Decay of the moving average that is the teacher of ``masked_latents``."""
    steps: int = Field(1000, ge=1)
    """Optimizer steps of each network."""
    batch: int = Field(8, ge=2)
    """Windows per step, of which every other one shows the source, the rest a CT."""
    optimizer: OptimizerParams = OptimizerParams(learning_rate=2e-3, schedule="cosine")
    """The optimizer and its schedule; ``ema_decay`` does not apply."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Device; ``auto`` uses CUDA where available."""
    history_every: int = Field(20, ge=1)
    """Steps averaged in one row of ``history.csv``."""
    checkpoint_every: int = Field(100, ge=1)
    """Steps between checkpoints; at most this many are lost when the run is killed."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not any(one.weight > 0 for one in self.objectives):
            raise ValueError("objectives must hold at least one of weight above 0")
        names = [one.name for one in self.objectives]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"objectives: {', '.join(twice)} is listed twice")
        if self.optimizer.ema_decay is not None:
            raise ValueError("optimizer.ema_decay does not apply here: set teacher_decay")
        return self

    def chosen(self, training: TrainingParams) -> PlugIn:
        """The network to train, given the params of ``training``."""
        return self.network or training.network
