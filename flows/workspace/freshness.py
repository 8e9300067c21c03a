"""What DVC is asked: which stages are not up to date, and to remember a data set."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from synthct.data.errors import MachineError
from synthct.flows.workspace.project import QUIET, Project, Step


def dvc_command(*arguments: str) -> list[str]:
    """DVC of this environment."""
    return [sys.executable, "-m", "dvc", *arguments]


def to_build(project: Project) -> tuple[Step, ...]:
    """The first stale stage and all after it: later ones may only become stale by then."""
    stale = stale_targets(project)
    for number, step in enumerate(project.steps):
        if step.target in stale:
            return project.steps[number:]
    return ()


def stale_targets(project: Project) -> set[str]:
    """Targets whose code, params, inputs or outs are not what ``dvc.lock`` says."""
    answer = _ask(project, [step.target for step in project.steps])
    return set(answer) & {step.target for step in project.steps}


def track(root: Path, folder: Path) -> None:
    """Have DVC remember a data set: its ``.dvc`` file is what git holds of it."""
    done = subprocess.run(
        dvc_command("--wait-for-lock", "add", "--quiet", str(folder)),
        cwd=root,
        env={**os.environ, **QUIET},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise MachineError(
            "DVC remembers the data set",
            problem=f"dvc add failed ({' '.join(done.stderr.split())})",
            where=str(folder),
            remedy=f"the copies are in place: dvc add {folder}",
            code="dvc-add",
        )


def _ask(project: Project, targets: Sequence[str]) -> dict[str, object]:
    done = subprocess.run(
        dvc_command("--wait-for-lock", "status", "--json", *targets),
        cwd=project.root,
        env=project.environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == 0:
        return dict(json.loads(done.stdout or "{}"))
    said = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
    raise MachineError(
        "DVC can say which stages are up to date",
        where=str(project.root),
        got=(said or done.stderr.splitlines() or ["no answer"])[-1].removeprefix("ERROR: "),
        remedy="`dvc status` shows the same fault",
        code="dvc-status",
    )
