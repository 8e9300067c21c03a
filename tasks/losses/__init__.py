"""Data terms by name; one file each, found when first asked for."""

from __future__ import annotations

from synthct.data.registry import Registry
from synthct.tasks.models.contracts import Loss

LOSSES: Registry[Loss] = Registry("loss", group="synthct.losses", package="synthct.tasks.losses")
