"""Guards: plug-ins that each check a scan for one kind of error."""

from __future__ import annotations

from typing import Protocol

from synthct.data.registry import Registry
from synthct.data.volume import Volume
from synthct.tasks.ingestion.findings import Finding


class Guard(Protocol):
    """One check of one scan."""

    def __call__(self, scan: Volume, mask: Volume | None) -> tuple[Volume, list[Finding]]:
        """Check ``scan`` (canonical) and, if :attr:`needs_mask`, its body mask.

        Returns the scan, repaired where a finding has the severity ``repair``, and the findings.
        """

    @property
    def needs_mask(self) -> bool:
        """Whether it runs after the body has been outlined."""


GUARDS: Registry[Guard] = Registry(
    "guard", group="synthct.guards", package="synthct.tasks.ingestion.guards"
)
"""Every registered guard runs; ``ingestion.guards`` sets the options of single ones."""
