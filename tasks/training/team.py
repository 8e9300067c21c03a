"""Data-parallel training of one network: each process computes a part of every batch."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn

from synthct.tasks.models.contracts import Batch

PATIENCE = timedelta(hours=2)
"""Timeout of a process that waits for the others: the first one may be validating scans."""


@dataclass(frozen=True)
class Team:
    """The processes of one run; the first one validates, writes and reports.

    Every process draws the same batch and computes its part; the weighted gradients are added up.
    Two processes then make the same step as one (up to rounding), unless the network has batch
    norms, which see the parts only.
    """

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this is the first process."""
        return self.rank == 0

    def part_of(self, batch: Batch) -> Batch:
        """The samples of this process."""
        return split(batch, self.size)[self.rank] if self.size > 1 else batch

    def sum_gradients(self, model: nn.Module) -> None:
        """Add up the gradients of all processes."""
        if self.size == 1:
            return
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        torch.distributed.all_reduce(flat)
        sizes = [gradient.numel() for gradient in gradients]
        for gradient, part in zip(gradients, flat.split(sizes), strict=True):
            gradient.copy_(part.view_as(gradient))

    def summed(self, values: Mapping[str, float], device: torch.device) -> dict[str, float]:
        """Each number added up over the processes."""
        if self.size == 1:
            return dict(values)
        # NCCL sums on the GPU only.
        row = torch.tensor(list(values.values()), dtype=torch.float64, device=device)
        torch.distributed.all_reduce(row)
        return dict(zip(values, row.tolist(), strict=True))


def split(batch: Batch, count: int) -> list[Batch]:
    """Consecutive parts of a batch, whose sizes differ by one at most; at most one per sample."""
    samples = len(batch.source)
    count = min(count, samples)
    edges = [samples * number // count for number in range(count + 1)]
    return [_cut(batch, slice(*edge)) for edge in pairwise(edges)]


def weight_of(part: Batch, whole: Batch) -> float:
    """Weight of a part: its share of the body's voxels; without body, of the samples."""
    body = float(whole.mask.sum())
    if body > 0:
        return float(part.mask.sum()) / body
    return len(part.source) / len(whole.source)


def present() -> Team:
    """The team that this process has joined, or a team of one."""
    group = torch.distributed
    if not (group.is_available() and group.is_initialized()):
        return Team()
    return Team(group.get_rank(), group.get_world_size())


def join(rank: int, size: int, meeting: Path, device: str) -> Team:
    """Join the team with the rendezvous file ``meeting``, over the loopback interface."""
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    os.environ.setdefault("NCCL_SOCKET_IFNAME", "lo")
    own_gpus = device == "cuda" and torch.cuda.device_count() >= size
    if own_gpus:
        torch.cuda.set_device(rank)
    torch.distributed.init_process_group(
        "nccl" if own_gpus else "gloo",
        init_method=f"file://{meeting}",
        rank=rank,
        world_size=size,
        timeout=PATIENCE,
    )
    return Team(rank, size)


def _cut(batch: Batch, at: slice) -> Batch:
    return replace(
        batch,
        source=batch.source[at],
        target=batch.target[at],
        mask=batch.mask[at],
        regions=batch.regions[at],
        cases=batch.cases[at],
        starts=batch.starts[at],
    )


def unsplit(model: nn.Module) -> list[str]:
    """Layers whose result depends on the other samples of a batch: batch norms, by name."""
    kind = nn.modules.batchnorm._BatchNorm
    return [name for name, module in model.named_modules() if isinstance(module, kind)]


def on(batch: Batch, device: torch.device) -> Batch:
    """The batch on a device."""

    def moved(tensor: Tensor) -> Tensor:
        return tensor.to(device, non_blocking=True)

    if device.type == "cpu":
        return batch
    return replace(
        batch,
        source=moved(batch.source),
        target=moved(batch.target),
        mask=moved(batch.mask),
    )
