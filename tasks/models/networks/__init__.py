"""Networks by name; one file each, found when first asked for."""

from __future__ import annotations

from synthct.data.registry import Registry
from synthct.tasks.models.contracts import Network

NETWORKS: Registry[Network] = Registry(
    "network", group="synthct.networks", package="synthct.tasks.models.networks"
)
