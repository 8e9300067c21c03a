"""What naive methods reach: one file each, selectable by name; a model must beat them."""

from __future__ import annotations

from synthct.data.registry import Registry
from synthct.tasks.evaluation.naive import Baseline

BASELINES: Registry[Baseline] = Registry(
    "baseline", group="synthct.baselines", package="synthct.tasks.evaluation.baselines"
)
