"""Registry of what a network is pretrained for: plug-in modules of this package."""

from __future__ import annotations

from synthct.data.registry import Registry
from synthct.tasks.pretraining.base import Objective

OBJECTIVES: Registry[Objective] = Registry(
    "objective", group="synthct.objectives", package="synthct.tasks.pretraining.objectives"
)
"""What is minimised without labels; ``pretraining.objectives`` adds several with weights."""
