"""Plug-ins and options that the params name for ingestion and evaluation, checked before any work.

A name that does not exist would be ignored (a guard's limit) or stop the chain after hours of
training (a metric).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from synthct.data.errors import UsageError, did_you_mean
from synthct.data.registry import Registry
from synthct.tasks.chain.params import Params
from synthct.tasks.evaluation.baselines import BASELINES
from synthct.tasks.evaluation.checks import CHECKS
from synthct.tasks.evaluation.metrics import METRICS
from synthct.tasks.ingestion.guards import GUARDS


def check_names(params: Params, *, where: str) -> None:
    """Build every plug-in with its options once.

    Raises
    ------
    UsageError
        ``names-unknown``: everything that is wrong, in one error.
    """
    evaluation, guards = params.evaluation, params.ingestion.guards
    problems = [
        *_wrong(GUARDS, "ingestion.guards", guards, guards),
        *_wrong(METRICS, "evaluation.metrics", evaluation.metrics, evaluation.metric_options),
        *_wrong(CHECKS, "evaluation.checks", evaluation.checks, evaluation.check_options),
        *_wrong(BASELINES, "evaluation.baselines", evaluation.baselines, {}),
        *_unused("evaluation.metric_options", evaluation.metric_options, evaluation.metrics),
        *_unused("evaluation.check_options", evaluation.check_options, evaluation.checks),
    ]
    if problems:
        raise UsageError("; ".join(problems), where=where, code="names-unknown")


def _wrong(
    registry: Registry[Any], where: str, names: Iterable[str], options: Mapping[str, Any]
) -> Iterator[str]:
    for name in names:
        try:
            registry.build(name, options.get(name, {}), where=where)
        except UsageError as error:
            yield str(error)


def _unused(where: str, options: Iterable[str], names: Iterable[str]) -> Iterator[str]:
    known = tuple(names)
    for name in options:
        if name not in known:
            yield f"{where}: {name!r} is not used ({did_you_mean(name, known)})"
