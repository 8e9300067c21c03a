"""``make bench``: run the named benchmarks, or all, and write their pages to docs/benchmarks/."""

from __future__ import annotations

import argparse
import importlib
import os
import pkgutil
import platform
import re
import sys
import textwrap
from pathlib import Path

import benchmarks
from synthct.data.files import write_whole

DOCS = Path("docs/benchmarks")
WIDTH = 100
"""Columns of a line of prose."""


def hardware() -> str:
    """The machine, in words, because figures mean nothing without it."""
    model = next(
        (
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{model}, {os.cpu_count()} cores, {memory_gib:.0f} GiB, Python {platform.python_version()}"
    )


def wrapped(page: str) -> str:
    """The page with its paragraphs and lists wrapped; tables, headings and pictures as they are."""
    return "\n\n".join(_wrapped(block) for block in re.split(r"\n{2,}", page.strip())) + "\n"


def _wrapped(block: str) -> str:
    if block.startswith(("|", "#", "![", "    ", "```", "<!--")):
        return block
    lists = block.startswith("* ")
    parts = re.split(r"\n(?=\* )", block) if lists else [block]
    indent = "  " if lists else ""
    return "\n".join(
        textwrap.fill(
            part, WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
        )
        for part in parts
    )


def main() -> int:
    """Each page is a module with ``measure() -> str``, the markdown below the page's heading."""
    known = sorted(
        module.name
        for module in pkgutil.iter_modules(benchmarks.__path__)
        if not module.name.startswith(("_", "test_"))
    )
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("pages", nargs="*", help=f"default: all of {', '.join(known)}")
    # The summary reads the other pages.
    pages = parser.parse_args().pages or sorted(known, key=lambda name: name == "summary")
    for name in pages:
        module = importlib.import_module(f"benchmarks.{name}")
        title = (module.__doc__ or name).strip().splitlines()[0].rstrip(".")
        text = f"# {title}\n\n`python -m benchmarks {name}` on {hardware()}.\n\n{module.measure()}"
        write_whole(DOCS / f"{name}.md", wrapped(text))
        sys.stdout.write(f"{text}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
