"""Calls of DVC: find stale stages, track a data set, and wait while DVC is busy."""

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
    """Command line of the DVC in this environment."""
    return [sys.executable, "-m", "dvc", *arguments]


BUSY_WAIT_S = 1.0
_REPEAT_MESSAGE_S = 60.0


def busy(lines: Iterable[str]) -> bool:
    """Whether DVC failed because another DVC process of this checkout uses the same files.

    ``--wait-for-lock`` waits for the lock of the repository only. The locks of single files, which
    a running stage holds until it ends, and the lock of their list fail at once.
    """
    errors = [line for line in lines if line.startswith(("ERROR: ", "\x1b[31mERROR"))]
    return any("being blocked by" in line or _NO_LOCK in line for line in errors)


_NO_LOCK = "Unable to acquire lock"


def waiting_for(lines: Iterable[str]) -> str:
    """One line that says which process DVC waits for."""
    holders = [line.strip() for line in lines if line.strip().startswith("(PID ")]
    holder = f": {holders[0]}" if holders else ""
    return f"another DVC is running in this checkout{holder}; waiting for it (Ctrl-C to stop)"


def run_unless_busy(
    command: list[str], folder: Path, environment: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    """Run a DVC command, and repeat it as long as another DVC process uses its files."""
    printed_s = float("-inf")
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
        if time.monotonic() - printed_s > _REPEAT_MESSAGE_S:
            printed_s = time.monotonic()
            sys.stderr.write(f"{waiting_for(lines)}\n")
        time.sleep(BUSY_WAIT_S)


def to_build(project: Project) -> tuple[StageTarget, ...]:
    """The first stale stage and all after it, which may become stale when it has run."""
    stale = stale_targets(project)
    for number, stage in enumerate(project.stages):
        if stage.target in stale:
            return project.stages[number:]
    return ()


def stale_targets(project: Project) -> set[str]:
    """Targets whose code, params, inputs or outputs differ from ``dvc.lock``.

    Raises
    ------
    MachineError
        ``dvc-status``.
    """
    # By file: DVC collects the whole graph once for each stage that it is given.
    files = {stage.target.rpartition(":")[0] or "dvc.yaml" for stage in project.stages}
    answer = _ask(project, sorted(files))
    return set(answer) & {stage.target for stage in project.stages}


def track(root: Path, folder: Path) -> None:
    """Track a data set with DVC, which writes the ``.dvc`` file that git versions.

    Raises
    ------
    MachineError
        ``dvc-add``.
    """
    command = dvc_command("--wait-for-lock", "add", "--quiet", str(folder))
    done = run_unless_busy(command, root, {**os.environ, **QUIET})
    if done.returncode != 0:
        raise MachineError(
            f"dvc add failed ({' '.join(done.stderr.split())})",
            where=str(folder),
            remedy=f"the copies are complete; run `dvc add {folder}` by hand",
            code="dvc-add",
        )


def _ask(project: Project, targets: Sequence[str]) -> dict[str, object]:
    command = dvc_command("--wait-for-lock", "status", "--json", *targets)
    done = run_unless_busy(command, project.root, project.environment())
    if done.returncode == 0:
        return dict(json.loads(done.stdout or "{}"))
    errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
    reason = (errors or done.stderr.splitlines() or ["no output"])[-1].removeprefix("ERROR: ")
    raise MachineError(
        f"`dvc status` failed: {reason}",
        where=str(project.root),
        remedy="run `dvc status` there to see the whole message",
        code="dvc-status",
    )
