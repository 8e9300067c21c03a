"""``python -m docs.make_formats``: the tables of ``docs/reference/formats.md``, from the tests."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path

from synthct.data.files import write_whole
from tests.fixtures.outcomes import FORMATS, OUTCOMES, Outcome, outcomes_of

PAGE = Path(__file__).with_name("reference") / "formats.md"
ROOT = PAGE.parents[2]
BLOCK = re.compile(r"(<!-- formats -->\n).*?(<!-- end -->)", re.DOTALL)


def outcomes() -> list[Outcome]:
    """What the tests of the readers show, in the order of their files."""
    found = []
    for path in sorted((ROOT / "tests/data").glob("test_*.py")):
        if "tests.fixtures.outcomes" in path.read_text():
            module = importlib.import_module(f"tests.data.{path.stem}")
            for value in vars(module).values():
                found += [one for one in outcomes_of(value) if isinstance(one, Outcome)]
    return found


def tables() -> str:
    """A section for each format: what is read, then repaired, then refused."""
    found, parts = outcomes(), []
    for section in FORMATS:
        own = [one for one in found if section in one.formats]
        own.sort(key=lambda one: OUTCOMES.index(one.outcome))
        rows = [f"| {one.what} | {one.outcome} | {one.then} |" for one in own]
        head = ["| the file has | it is | how, or the code |", "|---|---|---|"]
        parts.append("\n".join([f"## {section}", "", *head, *rows]))
    return "\n\n".join(parts)


def rendered(text: str) -> str:
    """The page with its tables made anew."""
    return BLOCK.sub(lambda m: f"{m[1]}\n{tables()}\n\n{m[2]}", text)


if __name__ == "__main__":
    write_whole(PAGE, rendered(PAGE.read_text()))
    sys.stdout.write(f"{PAGE.name}: {len(outcomes())} rows\n")
