"""Convex combinations of the samples of a batch: partners, ratios and the mixed batch."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from synthct.tasks.models.contracts import Batch
from synthct.tasks.regularization.base import per_sample


@dataclass(frozen=True, eq=False)
class Mixture:
    """How a batch of B samples is mixed.

    Parameters
    ----------
    partner
        (B,) integers: the sample that each sample is mixed with.
    share
        (B,) in [0, 1]: weight of the sample itself; 1 leaves it unchanged.
    """

    partner: Tensor
    share: Tensor

    def of(self, values: Tensor) -> Tensor:
        """``share * values + (1 - share) * values[partner]`` along the first axis."""
        partner = self.partner.to(values.device)
        share = self._as_map(values)
        return share * values + (1 - share) * values[partner]

    def of_batch(self, batch: Batch) -> Batch:
        """Sources and targets mixed; see :meth:`of_targets` for the mask."""
        return replace(self.of_targets(batch), source=self.of(batch.source))

    def of_targets(self, batch: Batch) -> Batch:
        """Targets mixed; a mixed sample counts only where the masks of both partners are 1."""
        both = batch.mask * batch.mask[self.partner.to(batch.mask.device)]
        mask = torch.where(self._as_map(batch.mask) < 1, both, batch.mask)
        return replace(batch, target=self.of(batch.target), mask=mask)

    def _as_map(self, values: Tensor) -> Tensor:
        return per_sample(self.share.to(values.device, values.dtype), values)


def draw_partners(count: int, rng: torch.Generator) -> Tensor:
    """A random cycle through the batch: no sample is its own partner, unless B = 1; (B,)."""
    order = torch.randperm(count, generator=rng)
    partner = torch.empty_like(order)
    partner[order] = order.roll(1)
    return partner


def draw_beta(alpha: float, count: int, rng: torch.Generator) -> Tensor:
    """``count`` draws from Beta(alpha, alpha), float64."""
    seed = int(torch.randint(2**62, (), generator=rng))
    return torch.from_numpy(np.random.default_rng(seed).beta(alpha, alpha, count))


def draw_mixture(alpha: float, probability: float, count: int, rng: torch.Generator) -> Mixture:
    """Mix each sample with the given probability; its weight is drawn from Beta(alpha, alpha)."""
    chosen = torch.rand(count, generator=rng) < probability
    partner = draw_partners(count, rng)
    share = draw_beta(alpha, count, rng)
    return Mixture(partner, torch.where(chosen, share, torch.ones_like(share)))
