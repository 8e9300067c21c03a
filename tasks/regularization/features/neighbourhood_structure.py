"""STRUCTURE: voxels with similar CT surroundings should have similar features of the source."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional

from synthct.tasks.regularization import REGULARIZERS
from synthct.tasks.regularization.base import Step, frozen_statistics
from synthct.tasks.regularization.features.voxel_sampling import VoxelPenalty, VoxelSample, on_grid
from synthct.tasks.regularization.layers import BOTTLENECK, Role

Geometry = Literal["ct", "start"]

START = "start/"
"""Prefix of the memory's weights at the start of the run."""


@REGULARIZERS.register("neighbourhood_structure")
@dataclass(frozen=True)
class NeighbourhoodStructure(VoxelPenalty):
    r"""Divergence of neighbourhoods, :math:`\frac1L\sum_{l=1}^{L} \frac1l\, JS(S_X^l, S_A^l)`.

    For *N* voxels, row *i* of :math:`S = \mathrm{softmax}(\hat Z \hat Z^T / \tau)` is the
    similarity of voxel *i* to all others, where the descriptors :math:`\hat Z` are centred over the
    voxels and normalised to unit length; its *l*-th power is a random walk of *l* steps. *A* are
    the network's features, *X* the reference descriptors, and *JS* the Jensen-Shannon divergence
    of the rows, averaged over the rows, at most :math:`\log 2`. In the paper *X* is the latent
    space of a pretrained encoder and *A* its image under a learned alignment, for two modalities
    with few pairs. With ``geometry: start`` that is what is done: *X* are the features that the
    weights at the start of the run give the same patches, so that a network which is fine-tuned on
    few patients keeps its own geometry (a copy of the weights, and one more pass without gradient).
    With ``geometry: ct``, an adaptation, *X* are the CT patches that the cells of the feature map
    cover. Unit: nats.

    For synthetic CT: with few patients, the similarity structure of the CT, or of a network that
    was trained on many, is a target for the features of MR or CBCT.

    Acts at ``penalty``.

    Parameters
    ----------
    geometry
        ``ct`` or ``start``: where *X* comes from.
    levels
        *L*, the length of the longest random walk.
    temperature
        :math:`\tau`.
    layer
        Layer whose output is *A*; empty: the bottleneck, the activation after the widest
        convolution.
    detail
        The CT patch of each cell is averaged to this many values along each axis.

    References
    ----------
    Gröger, Wen, Le & Brbić, With Limited Data for Multimodal Alignment, Let the STRUCTURE Guide
    You, NeurIPS 2025, arXiv:2506.16895.
    """

    geometry: Geometry = "ct"
    levels: int = 2
    temperature: float = 0.2
    detail: int = 4

    role: ClassVar[Role] = BOTTLENECK
    least: ClassVar[int] = 3

    def __post_init__(self) -> None:
        if self.geometry not in get_args(Geometry):
            raise ValueError(f"geometry must be ct or start, got {self.geometry!r}")
        for name in ("levels", "detail"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.temperature <= 0:
            raise ValueError(f"temperature must be positive, got {self.temperature}")
        super().__post_init__()

    def begin(self, step: Step) -> None:
        """Remember the weights whose geometry is kept."""
        if self.geometry == "start":
            weights = step.model.named_parameters()
            step.memory.update({START + name: w.detach().clone() for name, w in weights})

    def cost(self, step: Step, feature: Tensor, voxels: VoxelSample) -> Tensor:
        """Mean over the levels; a scalar [nats]."""
        if self.geometry == "start":
            (layer,) = step.features
            wanted = voxels.rows(_at_start(step, layer).to(feature.dtype))
        else:
            wanted = voxels.rows(cell_patches(step.batch.target, feature.shape[2:], self.detail))
        x, a = (neighbourhoods(rows, self.temperature) for rows in (wanted, voxels.rows(feature)))
        walk_x, walk_a, value = x, a, divergence_of_rows(x, a)
        for level in range(2, self.levels + 1):
            walk_x, walk_a = walk_x @ x, walk_a @ a
            value = value + divergence_of_rows(walk_x, walk_a) / level
        return value / self.levels


def _at_start(step: Step, layer: str) -> Tensor:
    """Output of a layer for the batch, of the weights at the start of the run."""
    model = step.model
    found: list[Tensor] = []
    weights = {n: step.memory[START + n].to(w) for n, w in model.named_parameters()}
    handle = model.get_submodule(layer).register_forward_hook(
        lambda _module, _inputs, output: found.append(output)
    )
    try:
        with torch.no_grad(), frozen_statistics(model):
            torch.func.functional_call(model, weights, (step.batch.source,))
    finally:
        handle.remove()
    return found[0]


def cell_patches(image: Tensor, grid: Sequence[int], detail: int) -> Tensor:
    """The part of (B, 1, ...) that each cell of ``grid`` covers, as channels.

    (B, detail^axes, *grid).
    """
    fine = on_grid(image, [length * detail for length in grid])
    axes = len(grid)
    split = fine.reshape(len(image), *(size for length in grid for size in (length, detail)))
    cells, within = range(1, 2 * axes, 2), range(2, 2 * axes + 1, 2)
    return split.permute(0, *within, *cells).flatten(1, axes)


def neighbourhoods(rows: Tensor, temperature: float) -> Tensor:
    """Similarities between the rows of (N, C), as probabilities in each row; (N, N)."""
    unit = functional.normalize(rows - rows.mean(dim=0), dim=1)
    return torch.softmax(unit @ unit.T / temperature, dim=1)


def divergence_of_rows(p: Tensor, q: Tensor) -> Tensor:
    """Mean Jensen-Shannon divergence of the rows of (N, N); a scalar [nats]."""
    middle = ((p + q) / 2).log()
    pairs = p * (p.log() - middle) + q * (q.log() - middle)
    return pairs.sum(dim=1).mean() / 2
