"""From the names in the params to networks, losses and regularizers."""

from __future__ import annotations

import dataclasses
import json
import typing
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from synthct.data.errors import UsageError
from synthct.data.registry import Registry
from synthct.tasks.losses import LOSSES
from synthct.tasks.models.contracts import Network
from synthct.tasks.models.networks import NETWORKS
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
    """Dotted modules of every plug-in that the params name: part of the units' keys."""
    named: list[tuple[Registry[Any], Sequence[PlugIn]]] = [
        (NETWORKS, [params.network]),
        (LOSSES, params.losses),
        (REGULARIZERS, params.regularizers),
    ]
    modules = {registry.module_of(e.name) for registry, entries in named for e in entries}
    return tuple(sorted(modules))


def build(registry: Registry[T], entry: PlugIn, where: str) -> T:
    """One plug-in; all faults of its parameters are told at once."""
    cls = registry.get(entry.name, where=where)
    types = typing.get_type_hints(cls)
    fields = {field.name for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    faults, options = [], {}
    for key, value in entry.options.items():
        if key not in fields:
            faults += _unknown(registry, entry.name, key)
            continue
        try:
            # JSON mode as for the rest of params.yaml: strict, yet a list may fill a tuple.
            options[key] = TypeAdapter(types[key]).validate_json(json.dumps(value), strict=True)
        except ValidationError as error:
            faults.append(f"{key}: {error.errors()[0]['msg']}, got {value!r}")
    if faults:
        raise UsageError("; ".join(faults), where=f"{where} ({entry.name})", code="bad-parameter")
    return registry.build(entry.name, options, where=where)


def _unknown(registry: Registry[T], name: str, key: str) -> list[str]:
    try:
        registry.build(name, {key: None})
    except UsageError as fault:
        return [str(fault)]
    return []


def _labels(entries: Sequence[WeightedPlugIn]) -> Iterator[str]:
    """Names of the terms in the history: the second ``huber`` is ``huber_2``."""
    seen: dict[str, int] = {}
    for entry in entries:
        seen[entry.name] = seen.get(entry.name, 0) + 1
        count = seen[entry.name]
        yield entry.name if count == 1 else f"{entry.name}_{count}"
