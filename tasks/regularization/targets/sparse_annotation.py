"""Sparse annotation: a network for volumes is trained on a few slices of each."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from synthct.tasks.models.contracts import Target
from synthct.tasks.regularization import REGULARIZERS
from synthct.tasks.regularization.base import Regularizer, Step

AXES = {"z": 0, "y": 1, "x": 2}


@REGULARIZERS.register("sparse_annotation")
@dataclass(frozen=True)
class SparseAnnotation(Regularizer):
    r"""Only voxels in annotated planes count: :math:`w \gets w\,[\,p \in P\,]`.

    *P* are the planes at ``first``, ``first + every``, ``first + 2 every``, ... voxels of the
    scan along each of ``axes``; a voxel in any of them counts, all others have weight zero. The
    network gets the whole source and predicts the whole volume. The planes are those of the
    scan, not of the patch, so that a case has the same ones in every epoch. A 2.5-D network
    predicts single axial slices: a batch without any of the planes has no data term. An
    adaptation: the paper segments, with a class for voxels that are not annotated. With a
    strength in [0, 1] the other voxels keep ``1 - strength`` of their weight. No unit.

    For synthetic CT: an expert checks the registration on every tenth slice, or the field of
    view of a diagnostic CT covers only part of the source.

    Acts at ``target``.

    Parameters
    ----------
    every
        Distance of the planes [voxels].
    first
        Index of the first plane.
    axes
        Axes to which planes are perpendicular: ``z``, ``y``, ``x``.

    References
    ----------
    Çiçek, Abdulkadir, Lienkamp, Brox & Ronneberger, 3D U-Net: Learning Dense Volumetric
    Segmentation from Sparse Annotation, MICCAI 2016, arXiv:1606.06650.
    """

    every: int = 4
    first: int = 0
    axes: tuple[str, ...] = ("z",)

    def __post_init__(self) -> None:
        if self.every < 1:
            raise ValueError(f"every must be at least 1 [voxels], got {self.every}")
        if not 0 <= self.first < self.every:
            raise ValueError(f"first must be in [0, every), got {self.first}")
        if not self.axes or set(self.axes) - set(AXES):
            raise ValueError(f"axes must be of z, y, x, got {list(self.axes)}")

    def target(self, target: Target, step: Step) -> Target:
        """Reduce the weight of the voxels between the planes."""
        annotated = self._planes(target.weight, step)
        kept = (1 - min(1.0, step.strength)) * ~annotated + annotated
        return replace(target, weight=target.weight * kept.to(target.weight))

    def _planes(self, weight: Tensor, step: Step) -> Tensor:
        """Whether a voxel is in a plane: bool, broadcasts to (B, 1, [Z,] Y, X)."""
        flat = weight.ndim == 4
        # A 2.5-D patch starts at its first neighbouring slice; the target is the middle one.
        middle = step.batch.source.shape[1] // 2 if flat else 0
        annotated = torch.zeros(weight.shape, dtype=torch.bool, device=weight.device)
        for name in self.axes:
            axis = AXES[name]
            starts = torch.tensor([start[axis] for start in step.batch.starts])
            shape = [len(weight), *(1 for _ in weight.shape[1:])]
            if flat and name == "z":
                at = (starts + middle).view(shape)
            else:
                dim = axis + (1 if flat else 2)
                shape[dim] = weight.shape[dim]
                at = (starts.view(-1, 1) + torch.arange(weight.shape[dim])).view(shape)
            annotated |= ((at - self.first) % self.every == 0).to(weight.device)
        return annotated
