"""Registry of networks: plug-in modules of this package, imported at the first look-up."""

from __future__ import annotations

from synthct.data.registry import Registry
from synthct.tasks.models.contracts import Network

NETWORKS: Registry[Network] = Registry(
    "network", group="synthct.networks", package="synthct.tasks.models.networks"
)
