"""A header field whose name is almost one that matters was hurt: no default stands in for it."""

from __future__ import annotations

from collections.abc import Collection

from synthct.data.errors import nearest

_CLOSE = 0.8
"""Similarity from which on a name is another one misspelt (difflib's ratio)."""


def near_miss(names: Collection[str], matters: Collection[str]) -> str | None:
    """The first name that looks like one that matters and is not it; None where there is none.

    Names that matter and are there are not looked for a second time, so a format's other fields
    and those that programs add (``PatientID``) pass.
    """
    absent = {name.lower() for name in matters if name not in names}
    for name in names:
        if name not in matters and nearest(name, absent, closeness=_CLOSE):
            return name
    return None
