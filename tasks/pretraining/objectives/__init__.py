"""Registry of pretraining objectives: plug-in modules of this package."""

from __future__ import annotations

from synthct.data.registry import Registry
from synthct.tasks.pretraining.base import Objective

OBJECTIVES: Registry[Objective] = Registry(
    "objective", group="synthct.objectives", package="synthct.tasks.pretraining.objectives"
)
"""Objectives without labels; ``pretraining.objectives`` sums several with weights."""
