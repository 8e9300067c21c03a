"""Shared by the pages ``speed_*``: processor time, an earlier build, a line for the summary."""

from __future__ import annotations

import contextlib
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

BEFORE = "41a2f679c6f4e285cb5f094602f94ccab0c7ecba"
"""The commit that the pages compare with, which is older than all of these changes."""

BUILDS = f"*Before* is the commit {BEFORE[:8]} of this repository, *now* the present code."

_ALIKE = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")
_LINE = re.compile(r"\*\*Ratio ([\d.]+)\*\*: (.+), relative to (.+)\.")


def processor() -> str:
    """The vector and matrix features of the processor, and how times are measured."""
    flags: set[str] = set()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("flags"):
            flags = set(line.split(":", 1)[1].split())
            break
    has = [f"{name} {'yes' if name in flags else 'no'}" for name in _ALIKE]
    return (
        f"Processor features: {', '.join(has)}. One thread. Times are processor seconds (user and "
        "system), the minimum of several rounds."
    )


@contextlib.contextmanager
def build_before() -> Iterator[Path]:
    """A clone of this repository at :data:`BEFORE`."""
    with tempfile.TemporaryDirectory(prefix="synthct-before-") as temporary:
        folder = Path(temporary) / "checkout"
        subprocess.run(
            ["git", "clone", "-q", "--shared", "--no-checkout", ".", str(folder)], check=True
        )
        subprocess.run(["git", "checkout", "-q", BEFORE], cwd=folder, check=True)
        yield folder


@contextlib.contextmanager
def this_build() -> Iterator[Path]:
    """A clone of this repository with its present files, committed or not."""
    with tempfile.TemporaryDirectory(prefix="synthct-now-") as temporary:
        folder = Path(temporary) / "checkout"
        subprocess.run(
            ["git", "clone", "-q", "--shared", "--no-checkout", ".", str(folder)], check=True
        )
        listed = subprocess.run(
            ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
            check=True, capture_output=True, text=True,
        ).stdout  # fmt: skip
        for name in filter(None, listed.split("\0")):
            if (file := Path(name)).exists():
                (folder / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(file, folder / file, follow_symlinks=False)
        yield folder


def environment(checkout: Path) -> dict[str, str]:
    """Environment of a process that runs the code of a checkout on one thread."""
    return {
        **os.environ,
        "PYTHONPATH": str(checkout / "src"),
        "OMP_NUM_THREADS": "1",
        "DVC_NO_ANALYTICS": "1",
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
    }


def command_s(command: Sequence[str], checkout: Path, rounds: int = 2) -> float:
    """Processor time of a command with its children [s]: minimum after a first, uncounted run."""
    spent = []
    for number in range(rounds + 1):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(
            command, cwd=checkout, env=environment(checkout), check=True, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        if number:
            spent.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(spent)


def answer(script: str, checkout: Path, *arguments: str) -> str:
    """What a Python script prints when it runs with the code of a checkout."""
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments], cwd=checkout, env=environment(checkout),
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    return done.stdout


def call_s(call: Callable[[], object], rounds: int = 3) -> float:
    """Processor time of a call in this process [s], minimum of the rounds."""
    spent = []
    for _ in range(rounds):
        began_s = time.process_time()
        call()
        spent.append(time.process_time() - began_s)
    return min(spent)


def result(ratio: float, what: str, reference: str) -> str:
    """One line with a ratio; the summary page reads it."""
    return f"**Ratio {ratio:.2f}**: {what}, relative to {reference}."


def results(page: str) -> list[tuple[float, str, str]]:
    """Ratio, what and reference of the results of a page."""
    paragraphs = (" ".join(block.split()) for block in page.split("\n\n"))
    found = (_LINE.fullmatch(paragraph) for paragraph in paragraphs)
    return [(float(each[1]), each[2], each[3]) for each in found if each]
