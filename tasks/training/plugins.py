"""Builds the networks, losses and regularizers that the params name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

from synthct.data.registry import Registry
from synthct.tasks.losses import LOSSES
from synthct.tasks.models.contracts import Network
from synthct.tasks.models.networks import NETWORKS
from synthct.tasks.models.normalise import scaling_modules
from synthct.tasks.regularization import REGULARIZERS
from synthct.tasks.training.compose import Composition, Member, Term
from synthct.tasks.training.params import PlugIn, TrainingParams, WeightedPlugIn

T = TypeVar("T")


def build_network(params: TrainingParams) -> Network:
    """The network that the params name."""
    return build(NETWORKS, params.network, "network")


def build_composition(params: TrainingParams) -> Composition:
    """Losses and regularizers that the params name."""
    labels = _labels([*params.losses, *params.regularizers])
    losses = [
        Term(next(labels), entry.weight, build(LOSSES, entry, "losses")) for entry in params.losses
    ]
    members = [
        Member(next(labels), entry.weight, build(REGULARIZERS, entry, "regularizers"))
        for entry in params.regularizers
    ]
    return Composition(losses, members, params.target_scaling)


def plugin_modules(params: TrainingParams) -> tuple[str, ...]:
    """Dotted modules of the plug-ins that the params name; they are part of the units' keys."""
    named: list[tuple[Registry[Any], Sequence[PlugIn]]] = [
        (NETWORKS, networks_of(params.network.as_json())),
        (LOSSES, params.losses),
        (REGULARIZERS, params.regularizers),
    ]
    modules = {registry.module_of(e.name) for registry, entries in named for e in entries}
    for source in params.sources:
        modules |= set(scaling_modules(params.recipe(source).source_scaling))
    return tuple(sorted(modules))


def networks_of(network: Mapping[str, Any]) -> list[PlugIn]:
    """The network of a description or of the params, and the one that it is built around."""
    found = [PlugIn(**network)]
    base = network.get("base")
    return [*found, *networks_of(base)] if isinstance(base, Mapping) else found


def build(registry: Registry[T], entry: PlugIn, where: str) -> T:
    """The plug-in of one entry of the params."""
    return registry.build(entry.name, entry.options, where=where)


def _labels(entries: Sequence[WeightedPlugIn]) -> Iterator[str]:
    """Names of the terms in the history: the second ``huber`` is ``huber_2``."""
    seen: dict[str, int] = {}
    for entry in entries:
        seen[entry.name] = seen.get(entry.name, 0) + 1
        count = seen[entry.name]
        yield entry.name if count == 1 else f"{entry.name}_{count}"
