"""Registry of losses: plug-in modules of this package, imported at the first look-up."""

from __future__ import annotations

from synthct.data.registry import Registry
from synthct.tasks.models.contracts import Loss

LOSSES: Registry[Loss] = Registry("loss", group="synthct.losses", package="synthct.tasks.losses")
