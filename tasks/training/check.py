"""Checks before any work that the plug-ins in the params exist and fit; all errors at once."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from typing import TypeVar

import torch
from torch import nn

from synthct.data.errors import UsageError
from synthct.data.registry import Registry
from synthct.tasks.losses import LOSSES
from synthct.tasks.models.contracts import Network
from synthct.tasks.models.networks import NETWORKS
from synthct.tasks.regularization import REGULARIZERS
from synthct.tasks.regularization.base import Regularizer, seams_of
from synthct.tasks.training.params import PlugIn, TrainingParams, WeightedPlugIn
from synthct.tasks.training.plugins import build

T = TypeVar("T")

_NOT_IN_TRAINING = {"displacement", "image"}
"""Seams that registration and reconstruction use."""


def check(params: TrainingParams, *, where: str = "params.yaml: training") -> None:
    """Check plug-ins, patch sizes and combinations.

    Raises
    ------
    UsageError
        ``training-params``: everything that is wrong, in one error.
    """
    problems = list(_problems(params))
    if problems:
        raise UsageError(
            "; ".join(problems),
            where=where,
            code="training-params",
        )


def _problems(params: TrainingParams) -> Iterator[str]:
    network = yield from _try(NETWORKS, params.network, "network")
    for number, entry in enumerate(params.losses):
        yield from _try(LOSSES, entry, f"losses[{number}]")
    regularizers: list[tuple[str, WeightedPlugIn, Regularizer]] = []
    for number, entry in enumerate(params.regularizers):
        where = f"regularizers[{number}]"
        regularizer = yield from _try(REGULARIZERS, entry, where)
        if regularizer is not None:
            regularizers.append((where, entry, regularizer))
    yield from _clashes(regularizers)
    if network is None:
        return
    yield from _patch_problems(params, network)
    with torch.device("meta"):  # shapes and names only: no weights are drawn
        model = network.build()
    for where, entry, regularizer in regularizers:
        errors = regularizer.problems(model)
        yield from (f"{where}: {error}" for error in errors)
        hooked = params.compile and not errors and _hooks(regularizer, model)
        if hooked:
            yield f"{where}: {entry.name!r} acts inside the network: it needs compile: false"


def _hooks(regularizer: Regularizer, model: nn.Module) -> bool:
    """Whether it reads or perturbs layers."""
    return bool(regularizer.collects(model) or regularizer.hides(model))


def _clashes(regularizers: Sequence[tuple[str, WeightedPlugIn, Regularizer]]) -> Iterator[str]:
    names = {entry.name for _, entry, _ in regularizers}
    for where, entry, regularizer in regularizers:
        if clash := sorted(regularizer.incompatible & names):
            yield f"{where}: {entry.name!r} cannot be combined with {', '.join(clash)}"
        seams = set(seams_of(type(regularizer)))
        if seams and seams <= _NOT_IN_TRAINING:
            yield (
                f"{where}: {entry.name!r} acts on {' and '.join(sorted(seams))}, not in training, "
                "where it would have no effect"
            )
        if "perturb" in seams and "penalty" not in seams and entry.weight > 1:
            yield (
                f"{where}: the weight of {entry.name!r} is a probability in [0, 1], "
                f"got {entry.weight:g}"
            )


def _patch_problems(params: TrainingParams, network: Network) -> Iterator[str]:
    axes = 2 if network.dimensions == "2.5d" else 3
    for source in params.sources:
        size = params.recipe(source).patch_size
        if len(size) != axes or any(length % network.divisor for length in size):
            yield (
                f"{source}.patch_size: {params.network.name!r} takes {axes} multiples of "
                f"{network.divisor}, got {list(size)}"
            )
        elif all(length == network.divisor for length in size):
            yield (
                f"{source}.patch_size: one axis is at least {2 * network.divisor}: the deepest "
                f"level needs more than one voxel to normalise over, got {list(size)}"
            )


def _try(registry: Registry[T], entry: PlugIn, where: str) -> Generator[str, None, T | None]:
    """Yield the error of the entry, or return its plug-in."""
    try:
        return build(registry, entry, where)
    except UsageError as error:
        yield str(error)
        return None
