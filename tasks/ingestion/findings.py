"""Findings of the guards: code, severity, sentence and remedy."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class Severity(StrEnum):
    """Consequence of a finding, from worst to mildest."""

    REJECT = "reject"
    """The scan is unusable and excluded."""
    QUARANTINE = "quarantine"
    """The scan is excluded until a person has released it (``ingestion.released``)."""
    REPAIR = "repair"
    """The scan was changed as the sentence says, and is used."""
    NOTE = "note"
    """Information only."""


@dataclass(frozen=True)
class Finding:
    """One observation: a stable code, its severity, a sentence and a remedy."""

    code: str
    severity: Severity
    sentence: str
    remedy: str = ""

    def as_json(self) -> dict[str, Any]:
        """The entry in ``patient.json``."""
        return asdict(self) | {"severity": str(self.severity)}


@dataclass(frozen=True)
class Code:
    """A kind of finding, declared next to its check; the documentation lists them all.

    Parameters
    ----------
    name
        Stable kebab-case code.
    severity
        Severity, unless a finding has its own.
    meaning
        Description for the table of findings.
    remedy
        What the user can do about it.
    """

    name: str
    severity: Severity
    meaning: str
    remedy: str = ""

    def found(self, sentence: str, severity: Severity | None = None) -> Finding:
        """A finding of this kind; the sentence describes what was found."""
        return Finding(self.name, severity or self.severity, sentence, self.remedy)


def worst(findings: Iterable[Finding]) -> Severity | None:
    """The worst severity; None without findings."""
    present = {finding.severity for finding in findings}
    return next((severity for severity in Severity if severity in present), None)


def codes(findings: Iterable[Finding]) -> str:
    """``severity:code`` of each finding, for a table cell."""
    return " ".join(f"{finding.severity}:{finding.code}" for finding in findings)
