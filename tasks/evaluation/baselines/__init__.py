"""Naive baselines that a model must beat, selectable by name."""

from __future__ import annotations

from synthct.data.registry import Registry
from synthct.tasks.evaluation.naive import Baseline

BASELINES: Registry[Baseline] = Registry(
    "baseline", group="synthct.baselines", package="synthct.tasks.evaluation.baselines"
)
