"""Data terms by name; one file each, found when first asked for."""

from __future__ import annotations

from tasks.registry import Registry
from tasks.training.contracts import Loss

LOSSES: Registry[Loss] = Registry("loss", group="synthct.losses", package="tasks.losses")
