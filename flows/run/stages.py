"""Run one stage by DVC in a child process group. Independent of Prefect."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from synthct.data.errors import MachineError
from synthct.flows.processes.children import SupervisedProcess
from synthct.flows.run.progress import Event, EventTail
from synthct.flows.workspace.freshness import BUSY_WAIT_S, busy, dvc_command, waiting_for
from synthct.flows.workspace.project import Project, StageTarget

_TICK_S = 0.2


@dataclass(frozen=True)
class StageResult:
    """How a stage was brought up to date.

    Parameters
    ----------
    name
        Name of the stage.
    how
        ``ran``, ``restored`` (its output came from DVC's cache) or ``current``.
    seconds
        Wall time, DVC included.
    """

    name: str
    how: str
    seconds: float


class Listener(Protocol):
    """Observer of a running stage: a terminal display or a Prefect task run."""

    def started(self, stage: StageTarget) -> None:
        """The stage starts."""

    def event(self, stage: StageTarget, event: Event) -> None:
        """One event of the stage."""

    def output(self, stage: StageTarget, line: str) -> None:
        """One line of output of the stage or of DVC."""

    def tick(self, stage: StageTarget) -> None:
        """Called about five times a second; an exception raised here stops the stage."""

    def finished(self, stage: StageTarget, built: StageResult | None) -> None:
        """The stage has ended; ``built`` is None if it failed."""


@dataclass(frozen=True)
class RunRecord:
    """Folder of one run of the chain, with its events and output."""

    folder: Path

    @property
    def events(self) -> Path:
        """The event file that all stages of the run append to."""
        return self.folder / "events.jsonl"

    def output(self, stage: StageTarget) -> Path:
        """File with the complete output of a stage."""
        return self.folder / f"{stage.name}.log"


def build_stage(
    project: Project,
    stage: StageTarget,
    record: RunRecord,
    environment: dict[str, str],
    listeners: Iterable[Listener],
) -> StageResult:
    """Bring one stage up to date; its processes have all ended when this returns or raises.

    Raises
    ------
    MachineError
        ``stage-failed``, ``dvc-killed``.
    """
    listeners = list(listeners)
    # Wait for DVC's lock: another workspace of the same checkout may be running.
    command = dvc_command("--wait-for-lock", "repro", "--single-item", stage.target)
    for listener in listeners:
        listener.started(stage)
    built: StageResult | None = None
    started = time.monotonic()
    try:
        while True:
            with SupervisedProcess(command, folder=project.root, environment=environment) as child:
                lines = _follow(child, stage, record, listeners)
                code = child.wait()
            if code == 0 or not busy(lines):
                break
            _wait(stage, listeners, waiting_for(lines))
        if code != 0:
            raise dvc_killed(stage, code) or stage_failed(stage, lines, record.output(stage))
        built = StageResult(stage.name, how_built(lines), round(time.monotonic() - started, 1))
        return built
    finally:
        for listener in listeners:
            listener.finished(stage, built)


def run_one_stage(project: Project, name: str) -> int:
    """Run a stage in the workspace, without DVC, in a process of its own; returns its exit code."""
    module = "synthct.flows.run.one_stage"
    command = [sys.executable, "-m", module, name, "--workspace", str(project.workspace)]
    environment = project.environment()
    return subprocess.run(command, cwd=project.root, env=environment, check=False).returncode


def _follow(
    child: SupervisedProcess, stage: StageTarget, record: RunRecord, listeners: list[Listener]
) -> list[str]:
    """Pass events and output on to the listeners until the child ends; returns its lines."""
    lines: list[str] = []
    tail = EventTail(record.events)
    for _ in tail.new():
        pass  # skip the events of earlier stages
    with record.output(stage).open("a") as log:
        for line in child.lines(_TICK_S):
            if line is not None:
                lines.append(line)
                log.write(line + "\n")
                log.flush()
                for listener in listeners:
                    listener.output(stage, line)
            _pass_on(tail, stage, listeners)
    _pass_on(tail, stage, listeners)
    return lines


def _wait(stage: StageTarget, listeners: list[Listener], reason: str) -> None:
    """Wait before the next attempt; the listeners may cancel meanwhile."""
    for listener in listeners:
        listener.output(stage, reason)
    until_s = time.monotonic() + BUSY_WAIT_S
    while time.monotonic() < until_s:
        for listener in listeners:
            listener.tick(stage)
        time.sleep(min(_TICK_S, BUSY_WAIT_S))


def _pass_on(tail: EventTail, stage: StageTarget, listeners: list[Listener]) -> None:
    for event in tail.new():
        for listener in listeners:
            listener.event(stage, event)
    for listener in listeners:
        listener.tick(stage)


def how_built(lines: Iterable[str]) -> str:
    """Classify a successful stage by DVC's output: ``ran``, ``restored`` or ``current``."""
    text = "\n".join(lines)
    if "Running stage" in text:
        return "ran"
    return "restored" if "skipping run" in text else "current"


def dvc_killed(stage: StageTarget, code: int) -> MachineError | None:
    """The error of a DVC process that a signal ended, else None.

    The keeper returns 128 + the signal's number. If only the stage is killed, DVC survives and
    reports it.
    """
    number = -code if code < 0 else code - 128
    if number not in set(signal.Signals):
        return None
    return MachineError(
        f"DVC was killed by {signal.Signals(number).name} while stage {stage.name} ran; "
        "the stage itself did not fail",
        where=stage.name,
        remedy="somebody stopped it, or memory ran out (see `dmesg`); the same command resumes "
        "where it stopped",
        code="dvc-killed",
    )


def stage_failed(stage: StageTarget, lines: list[str], log: Path) -> MachineError:
    """The error of a failed stage, with the line of its output that states the cause."""
    return MachineError(
        f"stage {stage.name} failed: {error_line(lines)}",
        remedy=f"its whole output is in {log}",
        code="stage-failed",
    )


def error_line(lines: list[str]) -> str:
    """The line that states the cause: the stage's last line, or DVC's if DVC itself failed."""
    output = [line.strip() for line in lines if line.strip()]
    errors = [number for number, line in enumerate(output) if line.startswith(_DVC_ERROR)]
    if not errors:
        return output[-1] if output else "no output"
    verdict = output[errors[-1]]
    own = [line for line in output[: errors[-1]] if not line.startswith(_CHATTER)]
    if _STAGE_FAILED in verdict and own:
        return own[-1]
    return verdict.removeprefix(_DVC_ERROR).partition("': ")[2].strip() or verdict


_DVC_ERROR = "ERROR: "
_STAGE_FAILED = "failed to run: "
_CHATTER = ("Running stage", "> ", "excluded ", "Verifying", "WARNING: ")
