"""``make bench``: run the pages named, or all, and write what they measured to docs/benchmarks/."""

from __future__ import annotations

import argparse
import importlib
import os
import pkgutil
import platform
import sys
from pathlib import Path

import benchmarks
from synthct.data.files import write_whole

DOCS = Path("docs/benchmarks")


def hardware() -> str:
    """The machine in words: figures without it mean nothing."""
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


def main() -> int:
    """Each page is a module with ``measure() -> str`` (markdown below the page's heading)."""
    known = sorted(
        module.name
        for module in pkgutil.iter_modules(benchmarks.__path__)
        if not module.name.startswith(("_", "test_"))
    )
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("pages", nargs="*", help=f"default: all of {', '.join(known)}")
    # The summary reads what the others wrote.
    pages = parser.parse_args().pages or sorted(known, key=lambda name: name == "summary")
    for name in pages:
        module = importlib.import_module(f"benchmarks.{name}")
        title = (module.__doc__ or name).strip().splitlines()[0].rstrip(".")
        text = f"# {title}\n\n`python -m benchmarks {name}` on {hardware()}.\n\n{module.measure()}"
        write_whole(DOCS / f"{name}.md", text.rstrip() + "\n")
        sys.stdout.write(f"{text}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
