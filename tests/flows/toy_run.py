"""Run the toy chain in a process that a test can kill: ROOT CLUSTER."""

import sys
from pathlib import Path

from rich.console import Console

from synthct.flows.run.running import RunOptions, run_project
from synthct.flows.workspace.project import Project, StageTarget

if __name__ == "__main__":
    root = Path(sys.argv[1])
    names = ("one", "two", "three")
    steps = tuple(StageTarget(name, name, Path("out") / name, f"makes {name}") for name in names)
    run_project(
        Project(root, "toy", steps), RunOptions(sys.argv[2], workers=1), Console(file=sys.stdout)
    )
