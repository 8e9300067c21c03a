"""A header field whose name is almost one that matters was hurt: no default stands in for it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_CLOSE = 0.8
"""Similarity from which on a name is another one misspelt (difflib's ratio)."""


def near_miss(names: Iterable[str], known: Iterable[str]) -> str | None:
    """The first unknown name that looks like a known one; None where there is none."""
    listed = {name.lower(): name for name in known}
    for name in names:
        if name not in listed.values() and difflib.get_close_matches(
            name.lower(), listed, n=1, cutoff=_CLOSE
        ):
            return name
    return None
