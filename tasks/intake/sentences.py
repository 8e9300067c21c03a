"""The messages of this package: only the values in a reader's message come from a source.

A folder called ``link`` must not turn "a link leads outside the source" into "a … leads outside the
source", while a patient of that name must be redacted. So the format string of a message is looked
up in the source code, and only the values that were inserted are searched for secrets.
"""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

import synthct.data.readers
import synthct.tasks.ingestion

_MIN_LETTERS = 3
"""Fewest letters in the constant pieces of a message: ``{a}, {b}`` would fit any text."""

Sentence = tuple[str, ...]
"""Constant pieces of a message; there is a value between each two."""


def values_in(text: str) -> list[tuple[int, int]] | None:
    """(start, end) of the values in a text; None if it is not a message of this package."""
    constant, with_values = _sentences()
    if text in constant:
        return []
    fitting = [
        (sum(map(len, sentence)), found)
        for sentence in with_values
        if (found := _fitted(sentence, text)) is not None
    ]
    return max(fitting)[1] if fitting else None


def _fitted(sentence: Sentence, text: str) -> list[tuple[int, int]] | None:
    """Match each piece at its first position: linear in the length of the text."""
    first, *middle, last = sentence
    here, end = len(first), len(text) - len(last)
    if here > end or not text.startswith(first) or not text.endswith(last):
        return None
    values = []
    for piece in middle:
        found = text.find(piece, here, end)
        if found < 0:
            return None
        values.append((here, found))
        here = found + len(piece)
    return [*values, (here, end)]


@functools.cache
def _sentences() -> tuple[frozenset[str], tuple[Sentence, ...]]:
    """All strings of the readers and of ingestion, without and with values."""
    constant: set[str] = set()
    with_values: set[Sentence] = set()
    for package in (synthct.data.readers, synthct.tasks.ingestion):
        for file in Path(str(package.__file__)).parent.rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    constant.add(node.value)
                elif isinstance(node, ast.JoinedStr):
                    with_values.add(tuple(_pieces(node)))
    usable = (s for s in with_values if sum(c.isalpha() for c in "".join(s)) >= _MIN_LETTERS)
    return frozenset(constant), tuple(usable)


def _pieces(node: ast.JoinedStr) -> Iterator[str]:
    """Constant pieces; an empty one between two adjacent values."""
    piece = ""
    for part in node.values:
        if isinstance(part, ast.Constant):
            piece += str(part.value)
        else:
            yield piece
            piece = ""
    yield piece
