"""Speed: `synthct run` when everything is up to date."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import yaml

from benchmarks._speed import (
    BUILDS,
    build_before,
    command_s,
    environment,
    processor,
    result,
    this_build,
)

_RUN = [sys.executable, "-m", "synthct.flows", "run"]
_STATUS = [sys.executable, "-m", "dvc", "status"]


def measure() -> str:
    """The whole command and `dvc status` in the same checkout, before and now."""
    rows, ratios = [], []
    for name, build in (("before", build_before), ("now", this_build)):
        with build() as checkout:
            _bring_up_to_date(checkout)
            status_s, run_s = command_s(_STATUS, checkout), command_s(_RUN, checkout)
        ratios.append(run_s / status_s)
        rows.append(f"| {name} | {run_s:.2f} | {status_s:.2f} | {ratios[-1]:.2f} |")
    return "\n".join(
        [
            processor(),
            "",
            "The demo's seven stages, each with an empty output that DVC has recorded: nothing is "
            f"computed, and nothing is out of date. {BUILDS}",
            "",
            "| build | `synthct run` [s] | `dvc status` [s] | ratio |",
            "|---|---|---|---|",
            *rows,
            "",
            result(ratios[-1], "`synthct run` when nothing is out of date", "`dvc status`"),
            "",
            "## Where the time went (cProfile)",
            "",
            "Before: 63 % of the command's own time was spent on following the imports of 414 "
            "files, once for each stage and plug-in, with 140,000 file tests and 491 parses; a "
            "third loaded SciPy, SimpleITK and numpy to read the params; and `dvc status` "
            "collected its graph once for each of the seven stages that it was given.",
            "",
            "Now: one walk per stage over imports that are cached by the content of each file "
            "(`.synthct/imports-*.json`); the params load without any library that computes; DVC "
            "is called once per `dvc.yaml`. The rest is the start of Python, the imports of typer "
            "and pydantic, and DVC itself. Both builds render the same `dvc.yaml`.",
        ]
    )


def _bring_up_to_date(checkout: Path) -> None:
    """Give every stage a tiny output, and let DVC record that it is current."""
    options = {"env": environment(checkout), "cwd": checkout, "check": True}
    subprocess.run([sys.executable, "-m", "synthct.tasks", "dag"], **options)  # type: ignore[call-overload]
    document = yaml.safe_load((checkout / "dvc.yaml").read_text())
    for stage in document["stages"].values():
        for out in stage["outs"]:
            for folder in out:
                (checkout / folder).mkdir(parents=True, exist_ok=True)
                (checkout / folder / "content.txt").write_text(folder)
    for metrics in document["metrics"]:
        (checkout / metrics).write_text("{}")
    subprocess.run([sys.executable, "-m", "dvc", "commit", "-f", "-q"], **options)  # type: ignore[call-overload]
