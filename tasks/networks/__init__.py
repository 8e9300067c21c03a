"""Networks by name; one file each, found when first asked for."""

from __future__ import annotations

from tasks.registry import Registry
from tasks.training.contracts import Network

NETWORKS: Registry[Network] = Registry(
    "network", group="synthct.networks", package="tasks.networks"
)
