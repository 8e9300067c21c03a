"""What a guard has to say about a scan."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class Severity(StrEnum):
    """What follows from a finding, from worst to mildest."""

    REJECT = "reject"
    """The scan is unfit and left out."""
    QUARANTINE = "quarantine"
    """The scan is left out until a person has looked at it (``ingestion.released``)."""
    REPAIR = "repair"
    """The scan was changed, as the sentence says, and goes on."""
    NOTE = "note"
    """Worth knowing; nothing follows."""


@dataclass(frozen=True)
class Finding:
    """One observation: a stable code, how bad it is, one sentence, and what to do."""

    code: str
    severity: Severity
    sentence: str
    remedy: str = ""

    def as_json(self) -> dict[str, Any]:
        """For ``patient.json``."""
        return asdict(self) | {"severity": str(self.severity)}


@dataclass(frozen=True)
class Code:
    """A kind of finding, kept beside the check that makes it; the documentation lists them all.

    Parameters
    ----------
    name
        Stable kebab-case code.
    severity
        What follows, unless the finding says otherwise.
    meaning
        What is wrong, for the table of findings.
    remedy
        What a person can do about it.
    """

    name: str
    severity: Severity
    meaning: str
    remedy: str = ""

    def found(self, sentence: str, severity: Severity | None = None) -> Finding:
        """The finding of this kind with what was seen."""
        return Finding(self.name, severity or self.severity, sentence, self.remedy)


def worst(findings: Iterable[Finding]) -> Severity | None:
    """The worst severity; None without findings."""
    present = {finding.severity for finding in findings}
    return next((severity for severity in Severity if severity in present), None)


def codes(findings: Iterable[Finding]) -> str:
    """``severity:code`` of each finding, for a table cell."""
    return " ".join(f"{finding.severity}:{finding.code}" for finding in findings)
