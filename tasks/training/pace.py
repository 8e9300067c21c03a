"""How long a training step takes on this machine: measured, not guessed."""

from __future__ import annotations

import time

import torch

from synthct.tasks.pipeline.threads import limit_threads
from synthct.tasks.training.params import Source, TrainingParams
from synthct.tasks.training.plugins import build_network


def step_seconds(params: TrainingParams, source: Source, *, steps: int = 3) -> float:
    """Seconds of one forward and backward pass of a batch, in one thread or on the GPU.

    The first pass, which allocates memory, does not count. Reading patches, the optimizer and
    regularizers add to it.
    """
    network = build_network(params)
    cuda = params.device != "cpu" and torch.cuda.is_available()
    device = torch.device("cuda" if cuda else "cpu")
    size = params.recipe(source).patch_size
    slices = int(getattr(network, "slices", 1))
    shape = (params.batch, slices, *size) if len(size) == 2 else (params.batch, 1, *size)
    with limit_threads(1):
        model = network.build().to(device).train()
        batch = torch.rand(shape, device=device)
        taken = []
        for _ in range(steps + 1):
            started_s = time.perf_counter()
            model(batch).abs().mean().backward()
            if cuda:
                torch.cuda.synchronize()
            taken.append(time.perf_counter() - started_s)
    return sum(taken[1:]) / steps
