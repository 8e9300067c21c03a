"""Guards: each looks for one thing that can be wrong with a scan. One idea, one file."""

from __future__ import annotations

from typing import Protocol

from synthct.data.registry import Registry
from synthct.data.volume import Volume
from synthct.tasks.ingestion.findings import Finding


class Guard(Protocol):
    """One check of one scan."""

    def __call__(self, scan: Volume, mask: Volume | None) -> tuple[Volume, list[Finding]]:
        """Look at ``scan`` (canonical) and, for the late guards, its body mask.

        Gives the scan back, repaired where a finding of severity ``repair`` says so.
        """

    @property
    def needs_mask(self) -> bool:
        """Whether it runs after the body outline is known."""


GUARDS: Registry[Guard] = Registry(
    "guard", group="synthct.guards", package="synthct.tasks.ingestion.guards"
)
"""Every registered guard runs; ``ingestion.guards`` sets the options of single ones."""
