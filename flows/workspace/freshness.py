"""What DVC is asked: which stages are not up to date, and to remember a data set."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from synthct.data.errors import MachineError
from synthct.flows.workspace.project import QUIET, Project, StageTarget


def dvc_command(*arguments: str) -> list[str]:
    """DVC of this environment."""
    return [sys.executable, "-m", "dvc", *arguments]


BUSY_WAIT_S = 1.0
_TELL_EVERY_S = 60.0


def busy(lines: Iterable[str]) -> bool:
    """Whether another DVC of this checkout is at work on the same files.

    ``--wait-for-lock`` waits for the lock of the repository only. The locks of single files, which
    a running stage holds to its end, and the lock of their list are refused at once.
    """
    told = [line for line in lines if line.startswith(("ERROR: ", "\x1b[31mERROR"))]
    return any("being blocked by" in line or _NO_LOCK in line for line in told)


_NO_LOCK = "Unable to acquire lock"


def waiting_for(lines: Iterable[str]) -> str:
    """One line on what is waited for."""
    holders = [line.strip() for line in lines if line.strip().startswith("(PID ")]
    told = f": {holders[0]}" if holders else ""
    return f"another DVC is at work in this checkout{told}; waiting for it (Ctrl-C ends the wait)"


def patiently(
    command: list[str], folder: Path, environment: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    """Run a DVC command to its end, however long another one holds its files."""
    told_s = float("-inf")
    while True:
        done = subprocess.run(
            command,
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        lines = (done.stdout + done.stderr).splitlines()
        if done.returncode == 0 or not busy(lines):
            return done
        if time.monotonic() - told_s > _TELL_EVERY_S:
            told_s = time.monotonic()
            sys.stderr.write(f"{waiting_for(lines)}\n")
        time.sleep(BUSY_WAIT_S)


def to_build(project: Project) -> tuple[StageTarget, ...]:
    """The first stale stage and all after it: later ones may only become stale by then."""
    stale = stale_targets(project)
    for number, stage in enumerate(project.stages):
        if stage.target in stale:
            return project.stages[number:]
    return ()


def stale_targets(project: Project) -> set[str]:
    """Targets whose code, params, inputs or outs are not what ``dvc.lock`` says."""
    answer = _ask(project, [stage.target for stage in project.stages])
    return set(answer) & {stage.target for stage in project.stages}


def track(root: Path, folder: Path) -> None:
    """Have DVC remember a data set: its ``.dvc`` file is what git holds of it."""
    command = dvc_command("--wait-for-lock", "add", "--quiet", str(folder))
    done = patiently(command, root, {**os.environ, **QUIET})
    if done.returncode != 0:
        raise MachineError(
            "",
            problem=f"dvc add failed ({' '.join(done.stderr.split())})",
            where=str(folder),
            remedy=f"the copies are complete; run `dvc add {folder}` by hand",
            code="dvc-add",
        )


def _ask(project: Project, targets: Sequence[str]) -> dict[str, object]:
    command = dvc_command("--wait-for-lock", "status", "--json", *targets)
    done = patiently(command, project.root, project.environment())
    if done.returncode == 0:
        return dict(json.loads(done.stdout or "{}"))
    errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
    reason = (errors or done.stderr.splitlines() or ["no output"])[-1].removeprefix("ERROR: ")
    raise MachineError(
        "",
        problem=f"`dvc status` failed: {reason}",
        where=str(project.root),
        remedy="run `dvc status` there to see the whole message",
        code="dvc-status",
    )
