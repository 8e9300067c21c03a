"""One thing that was looked at."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class Status(StrEnum):
    """How bad it is."""

    OK = "ok"
    LACKS = "lacks"
    """Something optional is absent: what needs it says so when it is asked for."""
    FAULT = "fault"
    """Runs would fail, or worse, silently differ."""


@dataclass(frozen=True)
class Finding:
    """What was found, and what to do about it.

    Parameters
    ----------
    about
        What was looked at.
    status
        See :class:`Status`.
    found
        What there is.
    remedy
        What to do where it is not ok.
    """

    about: str
    status: Status
    found: str
    remedy: str = ""

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def ok(about: str, found: str) -> Finding:
    """Nothing to do."""
    return Finding(about, Status.OK, found)


def lacks(about: str, found: str, remedy: str) -> Finding:
    """Something optional is absent."""
    return Finding(about, Status.LACKS, found, remedy)


def fault(about: str, found: str, remedy: str) -> Finding:
    """Something must be mended."""
    return Finding(about, Status.FAULT, found, remedy)


def healthy(findings: Iterable[Finding]) -> bool:
    """Whether nothing must be mended."""
    return all(finding.status is not Status.FAULT for finding in findings)
