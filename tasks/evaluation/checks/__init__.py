"""Named checks for scores that are better than the synthetic CT deserves.

A check measures one property of a prediction, its reference and the mask, and whether its value is
suspect. Checks never change a score; they are reported with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from synthct.data.registry import Registry
from synthct.tasks.evaluation.evidence import Check, Evidence, Finding

CHECKS: Registry[Check] = Registry(
    "check", group="synthct.checks", package="synthct.tasks.evaluation.checks"
)


def examine(
    evidence: Evidence, names: Sequence[str], options: dict[str, Any] | None = None
) -> list[Finding]:
    """The findings of the named checks, in their order."""
    chosen = options or {}
    return [CHECKS.build(name, chosen.get(name, {}), where="checks")(evidence) for name in names]
