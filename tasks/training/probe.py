"""Time of a training run on this machine, from a few measured steps."""

from __future__ import annotations

import math
import time
from dataclasses import asdict, dataclass
from typing import Any

import torch

from synthct.tasks.models.contracts import Network, Target
from synthct.tasks.pipeline.progress import spelled_s
from synthct.tasks.training.optimisation import make_optimizer
from synthct.tasks.training.params import Source, TrainingParams
from synthct.tasks.training.plugins import build_composition, build_network
from synthct.tasks.training.precision import settled

STEPS = 3
"""Measured steps, after one that is not counted: the first one allocates memory."""

SPACING_MM = (3.0, 1.0, 1.0)

OVERHEAD = 1.25
"""Allowance for patches, regularizers, validation and checkpoints, which are not measured: an
assumption, not a measurement."""


@dataclass(frozen=True)
class Probed:
    """Measured time of a step, and what follows from it.

    Parameters
    ----------
    step_s
        Seconds of one step, one network alone with one thread.
    networks, steps
        Networks to train, and steps of each.
    workers
        Networks trained at a time.
    """

    source: str
    step_s: float
    networks: int
    steps: int
    workers: int

    @property
    def hours(self) -> float:
        """Expected time of the training stage [h]."""
        rounds = math.ceil(self.networks / self.workers)
        return rounds * self.steps * self.step_s * OVERHEAD / 3600

    def as_json(self) -> dict[str, Any]:
        """Plain JSON."""
        return {**asdict(self), "hours": self.hours}

    def sentence(self) -> str:
        """The forecast for people."""
        return (
            f"{self.source}: {self.step_s:.2f} s a step, measured now; {self.networks} networks of "
            f"{self.steps} steps, {self.workers} at a time: training takes about "
            f"{spelled_s(3600 * self.hours)} here"
        )


def probe(params: TrainingParams, source: Source, workers: int) -> Probed:
    """Measure training steps of the recipe on random numbers, and extrapolate.

    Forward and backward pass, losses and optimizer of whole batches on the device of the params,
    in float32 on a CPU with one thread, as units are computed.
    """
    recipe = settled(params.of_source(source))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        step_s = _measured(recipe, source)
    finally:
        torch.set_num_threads(threads)
    folds = len(params.test_patients) or params.folds
    return Probed(source, step_s, folds, recipe.steps, max(1, min(workers, folds)))


def _measured(params: TrainingParams, source: Source) -> float:
    network = build_network(params)
    cuda = params.device != "cpu" and torch.cuda.is_available()
    device = torch.device("cuda" if cuda else "cpu")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = network.build().to(device).train()
        optimizer = make_optimizer(model, params.optimizer)
        losses = build_composition(params).losses
        inputs, target = _random(params, source, network, device)
        begun = 0.0
        for number in range(STEPS + 1):
            if number == 1:
                begun = _now(device)
            with torch.autocast(
                device.type, torch.bfloat16, enabled=params.precision == "bfloat16"
            ):
                output = model(inputs)
            terms = [term.weight * term.loss(output.float(), target) for term in losses]
            optimizer.zero_grad()
            torch.stack(terms).sum().backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        return (_now(device) - begun) / STEPS


def _random(
    params: TrainingParams, source: Source, network: Network, device: torch.device
) -> tuple[torch.Tensor, Target]:
    size = params.recipe(source).patch_size
    channels = network.slices if network.dimensions == "2.5d" else 1
    inputs = torch.randn(params.batch, channels, *size, device=device)
    value = torch.rand(params.batch, 1, *size, device=device) * 2 - 1
    return inputs, Target(value, torch.ones_like(value), SPACING_MM, params.target_scaling)


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()
