"""Numpy docstrings as markdown."""

from __future__ import annotations

import inspect
import logging
import re
from collections.abc import Sequence
from typing import Any

from griffe import Docstring, DocstringSectionKind

logging.getLogger("griffe").setLevel(logging.ERROR)  # types are in the signature, not in the text

ROLE = re.compile(r":(?!math)[a-z]+:`~?([^`]+)`")
DISPLAY = re.compile(r"^\.\. math::[ ]*(.*(?:\n(?:[ ]{4}|[ \t]*\n(?=[ ]{4})).*)*)", re.MULTILINE)
IDENTIFIERS = (
    (re.compile(r"arXiv:(\d{4}\.\d{4,5})"), r"[arXiv:\1](https://arxiv.org/abs/\1)"),
    (
        re.compile(r"(?<![/\w])doi:\s*(10\.\d{4,}/[^\s,;]*[^\s,;.])"),
        r"[doi:\1](https://doi.org/\1)",
    ),
)


def first_sentence(doc: str | None) -> str:
    """The first paragraph, on one line."""
    return prose(inspect.cleandoc(doc or "").partition("\n\n")[0].replace("\n", " "))


def prose(text: str) -> str:
    """Text of a docstring as markdown: roles, display formulas, identifiers of papers."""
    text = DISPLAY.sub(lambda found: f"$$\n{' '.join(found[1].split())}\n$$", text)
    text = ROLE.sub(lambda found: f"`{found[1].rpartition('.')[2]}`", text)
    for pattern, link in IDENTIFIERS:
        text = pattern.sub(link, text)
    return re.sub(r"``([^`]+)``", r"`\1`", text)


def stacked(kind: str, rows: Sequence[str]) -> str:
    """A table whose rows become blocks on narrow screens (``site.css``)."""
    return "\n".join([f'<div class="stacked {kind}" markdown>', "", *rows, "", "</div>"])


def markdown(doc: str | None) -> str:
    """The whole docstring."""
    sections = Docstring(inspect.cleandoc(doc or "")).parse("numpy")
    return "\n\n".join(text for section in sections if (text := _section(section)))


def _section(section: Any) -> str:
    kind, value = section.kind, section.value
    if kind is DocstringSectionKind.text:
        return prose(value)
    if kind is DocstringSectionKind.examples:
        return "\n\n".join(
            prose(text) if of is DocstringSectionKind.text else f"```pycon\n{text}\n```"
            for of, text in value
        )
    if kind is DocstringSectionKind.admonition:
        return f"**{section.title or value.kind}.** {prose(value.description)}"
    heading = {
        DocstringSectionKind.parameters: "Parameters",
        DocstringSectionKind.returns: "Returns",
        DocstringSectionKind.yields: "Yields",
        DocstringSectionKind.raises: "Raises",
        DocstringSectionKind.attributes: "Attributes",
    }.get(kind)
    return f"**{heading}**\n\n{_entries(value)}" if heading else ""


def _entries(value: Any) -> str:
    rows = []
    for entry in value:
        name = getattr(entry, "name", "") or str(getattr(entry, "annotation", "") or "")
        about = prose(" ".join(entry.description.split()))
        rows.append(f"* `{name}`: {about}" if name else f"* {about}")
    return "\n".join(rows)
