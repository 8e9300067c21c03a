"""What naive methods reach: one file each, selectable by name; a model must beat them."""

from __future__ import annotations

from tasks.evaluation.naive import Baseline
from tasks.registry import Registry

BASELINES: Registry[Baseline] = Registry(
    "baseline", group="synthct.baselines", package="tasks.evaluation.baselines"
)
