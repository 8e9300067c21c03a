"""One thing that was looked at."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class Status(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARNING = "warning"
    """Something optional is absent: what needs it says so when it is asked for."""
    ERROR = "error"
    """Runs would fail, or worse, silently differ."""


@dataclass(frozen=True)
class CheckResult:
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


def ok(about: str, found: str) -> CheckResult:
    """Nothing to do."""
    return CheckResult(about, Status.OK, found)


def warning(about: str, found: str, remedy: str) -> CheckResult:
    """Something optional is absent."""
    return CheckResult(about, Status.WARNING, found, remedy)


def error(about: str, found: str, remedy: str) -> CheckResult:
    """Something must be mended."""
    return CheckResult(about, Status.ERROR, found, remedy)


def healthy(results: Iterable[CheckResult]) -> bool:
    """Whether nothing must be mended."""
    return all(result.status is not Status.ERROR for result in results)
