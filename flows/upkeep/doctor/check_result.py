"""The result of one check of ``synthct doctor``."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class Status(StrEnum):
    """Severity of a result."""

    OK = "ok"
    WARNING = "warning"
    """Something optional is missing; commands that need it report it themselves."""
    ERROR = "error"
    """Runs would fail or, without an error, give other results."""


@dataclass(frozen=True)
class CheckResult:
    """What a check found, and what to do about it.

    Parameters
    ----------
    about
        Subject of the check.
    status
        See :class:`Status`.
    found
        What was found.
    remedy
        What the user can do if the status is not ``ok``.
    """

    about: str
    status: Status
    found: str
    remedy: str = ""

    def as_json(self) -> dict[str, Any]:
        """The result as JSON-compatible values."""
        return asdict(self)


def ok(about: str, found: str) -> CheckResult:
    """A check that passed."""
    return CheckResult(about, Status.OK, found)


def warning(about: str, found: str, remedy: str) -> CheckResult:
    """Something optional is missing."""
    return CheckResult(about, Status.WARNING, found, remedy)


def error(about: str, found: str, remedy: str) -> CheckResult:
    """Something must be repaired."""
    return CheckResult(about, Status.ERROR, found, remedy)


def healthy(results: Iterable[CheckResult]) -> bool:
    """Whether no result is an error."""
    return all(result.status is not Status.ERROR for result in results)
