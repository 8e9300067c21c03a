"""What a reader did or noticed while it made a volume out of files, short of refusing it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Remark:
    """One observation: ingestion turns it into a finding.

    Parameters
    ----------
    code
        Stable kebab-case name.
    sentence
        What was seen, in numbers: never a file name, a path or a text of the header.
    repaired
        Whether the volume differs from the files because of it.
    """

    code: str
    sentence: str
    repaired: bool = False
