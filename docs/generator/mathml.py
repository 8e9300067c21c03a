"""Formulas as MathML, which browsers draw by themselves: no script, no font, no network.

A Python-Markdown extension. It takes what docstrings have (``:math:`...```) and what pages have
(``$...$`` is left alone: money and shells; ``$$`` on lines of their own).
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as etree
from typing import Any

from latex2mathml.converter import convert
from markdown import Markdown
from markdown.blockprocessors import BlockProcessor
from markdown.extensions import Extension
from markdown.inlinepatterns import InlineProcessor

DRAWN_BETTER = (
    # A bar over a whole expression, as long as that expression.
    ('<mo accent="true">&#x02015;</mo>', '<mo stretchy="true">&#x000AF;</mo>'),
    # A hat over one letter, which browsers otherwise stretch and lift.
    ("<mo>&#x0005E;</mo></mover>", '<mo stretchy="false">&#x0005E;</mo></mover>'),
    # A semicolon is followed by a space.
    ("<mi>;</mi>", '<mo separator="true">;</mo>'),
)


def mathml(latex: str, display: str) -> str:
    """One formula as a ``<math>`` element."""
    made = convert(" ".join(latex.split()), display=display)
    for wrong, right in DRAWN_BETTER:
        made = made.replace(wrong, right)
    return made


class _Inline(InlineProcessor):
    def handleMatch(self, m: re.Match[str], data: str) -> tuple[Any, int, int]:  # noqa: N802
        return self.md.htmlStash.store(mathml(m[1], "inline")), m.start(0), m.end(0)


class _Display(BlockProcessor):
    PATTERN = re.compile(r"^\$\$\n(.*?)\n\$\$$", re.DOTALL)

    def test(self, parent: etree.Element, block: str) -> bool:
        return bool(self.PATTERN.match(block.strip()))

    def run(self, parent: etree.Element, blocks: list[str]) -> None:
        found = self.PATTERN.match(blocks.pop(0).strip())
        assert found is not None
        holder = etree.SubElement(parent, "p")
        holder.text = self.parser.md.htmlStash.store(mathml(found[1], "block"))


class MathExtension(Extension):
    """``:math:`x``` in a line, ``$$`` above and below a formula of its own."""

    def extendMarkdown(self, md: Markdown) -> None:  # noqa: N802
        """Before backticks are code."""
        md.inlinePatterns.register(_Inline(r":math:`([^`]+)`", md), "math", 200)
        md.parser.blockprocessors.register(_Display(md.parser), "math", 110)


def makeExtension(**options: Any) -> MathExtension:  # noqa: N802
    """Entry point of Python-Markdown."""
    return MathExtension(**options)
