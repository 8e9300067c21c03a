"""Random targets: a diagnostic of how much a network can memorise."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from synthct.tasks.models.contracts import Batch
from synthct.tasks.pipeline.randomness import derive_seed
from synthct.tasks.regularization import REGULARIZERS
from synthct.tasks.regularization.base import Regularizer, Step, per_sample

PRIMES = (73_856_093, 19_349_663, 83_492_791)
"""Factors of the hash of a voxel's indices."""

MIXERS, MODULUS = (739_982_445, 695_872_825), 2**31
"""Factors and modulus of the rounds that follow; products fit into 64 bits."""


@REGULARIZERS.register("random_targets")
@dataclass(frozen=True)
class RandomTargets(Regularizer):
    r"""The CT is replaced by numbers drawn for each cell of the scan, :math:`y \gets U(-1, 1)`.

    A cell is a cube of ``cell`` voxels; its number is a hash of case and cell, so that every
    patch that contains it, in any epoch, has the same target. The source has no information
    about it: any decrease of the training loss is memorisation, and the validation error must
    stay at chance. A recipe whose loss decreases here also memorises misregistered pairs, and a
    regularizer against noisy labels should slow it down. An adaptation: the paper shuffles the
    labels of a classifier. Flips are not undone: a flipped image has other random targets.
    Network units.

    For synthetic CT: shows how much of a training curve may be memorisation.

    Acts at ``perturb``; the strength is the probability that a patch is replaced, in [0, 1].

    Parameters
    ----------
    cell
        Side of a cell [voxels].

    References
    ----------
    Zhang, Bengio, Hardt, Recht & Vinyals, Understanding Deep Learning Requires Rethinking
    Generalization, ICLR 2017, arXiv:1611.03530.
    """

    cell: int = 4

    def __post_init__(self) -> None:
        if self.cell < 1:
            raise ValueError(f"cell must be at least 1 [voxel], got {self.cell}")

    def perturb(self, step: Step) -> Batch:
        """Replace ``batch.target`` (B, 1, [Z,] Y, X)."""
        batch = step.batch
        chosen = torch.rand(len(batch.target), generator=step.rng) < step.strength
        drawn = torch.stack([self._drawn(batch, number) for number in range(len(batch.target))])
        chosen = per_sample(chosen, batch.target).to(batch.target.device)
        return replace(batch, target=torch.where(chosen, drawn.to(batch.target), batch.target))

    def _drawn(self, batch: Batch, number: int) -> Tensor:
        """Numbers in [-1, 1] of one sample, (1, [Z,] Y, X)."""
        shape = batch.target.shape[2:]
        start = list(batch.starts[number])
        if len(shape) == 2:  # the target is the middle one of the input slices
            start[0] += batch.source.shape[1] // 2
            shape = torch.Size((1, *shape))
        mixed = torch.full((), derive_seed(0, batch.cases[number]) % MODULUS, dtype=torch.int64)
        for axis, prime in enumerate(PRIMES):
            at = (torch.arange(shape[axis]) + start[axis]).div(self.cell, rounding_mode="floor")
            view = [1, 1, 1]
            view[axis] = shape[axis]
            mixed = _scrambled((mixed + (at * prime).view(view)) % MODULUS)
        values = mixed.double() / MODULUS * 2 - 1
        return values.view(1, *batch.target.shape[2:])


def _scrambled(numbers: Tensor) -> Tensor:
    """A pseudo-random bijection of the numbers below 2^31."""
    for mixer in MIXERS:
        numbers = ((numbers ^ (numbers >> 15)) * mixer) % MODULUS
    return numbers ^ (numbers >> 15)
