"""One stage = one child process group that runs DVC. Knows no Prefect."""

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
    """What became of a stage.

    Parameters
    ----------
    name
        Name of the stage.
    how
        ``ran``, ``restored`` (its out came from DVC's cache) or ``current``.
    seconds
        Wall time, DVC included.
    """

    name: str
    how: str
    seconds: float


class Listener(Protocol):
    """Somebody who is told what a stage does."""

    def started(self, stage: StageTarget) -> None:
        """The stage starts."""

    def event(self, stage: StageTarget, event: Event) -> None:
        """One event of the stage."""

    def output(self, stage: StageTarget, line: str) -> None:
        """One line of output of the stage or of DVC."""

    def tick(self, stage: StageTarget) -> None:
        """About five times a second; raising here stops the stage."""

    def finished(self, stage: StageTarget, built: StageResult | None) -> None:
        """The stage is over; None: it failed."""


@dataclass(frozen=True)
class RunRecord:
    """Folder of one run of the chain: events, output, times."""

    folder: Path

    @property
    def events(self) -> Path:
        """The event file that all stages of the run append to."""
        return self.folder / "events.jsonl"

    def output(self, stage: StageTarget) -> Path:
        """Whole output of a stage."""
        return self.folder / f"{stage.name}.log"


def build_stage(
    project: Project,
    stage: StageTarget,
    record: RunRecord,
    environment: dict[str, str],
    listeners: Iterable[Listener],
) -> StageResult:
    """Bring one stage up to date; it and all it started are gone when this returns or raises."""
    listeners = list(listeners)
    # The lock is waited for: another workspace of the same checkout may be at work.
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


def run_alone(project: Project, name: str) -> int:
    """``python -m synthct.tasks NAME`` in the project's workspace, unseen by DVC; its exit code."""
    command = [sys.executable, "-m", "synthct.tasks", name, "--workspace", str(project.workspace)]
    environment = project.environment()
    return subprocess.run(command, cwd=project.root, env=environment, check=False).returncode


def _follow(
    child: SupervisedProcess, stage: StageTarget, record: RunRecord, listeners: list[Listener]
) -> list[str]:
    """Pass on events and output until the child ends; all its lines."""
    lines: list[str] = []
    tail = EventTail(record.events)
    for _ in tail.new():
        pass  # what earlier stages wrote
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


def _wait(stage: StageTarget, listeners: list[Listener], told: str) -> None:
    """Until the next try, in which a person may cancel."""
    for listener in listeners:
        listener.output(stage, told)
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
    """What DVC's output says it did."""
    text = "\n".join(lines)
    if "Running stage" in text:
        return "ran"
    return "restored" if "skipping run" in text else "current"


def dvc_killed(stage: StageTarget, code: int) -> MachineError | None:
    """The fault of a DVC that a signal ended (the keeper gives 128 + its number); else None.

    A stage that is killed is another matter: DVC lives to say so.
    """
    number = -code if code < 0 else code - 128
    if number not in set(signal.Signals):
        return None
    return MachineError(
        "",
        problem=f"DVC was killed by {signal.Signals(number).name} while stage {stage.name} ran; "
        "the stage itself did not fail",
        where=stage.name,
        remedy="somebody stopped it, or memory ran out (see `dmesg`); the same command resumes "
        "where it stopped",
        code="dvc-killed",
    )


def stage_failed(stage: StageTarget, lines: list[str], log: Path) -> MachineError:
    """The error of a failed stage, with the line of its output that states the cause."""
    return MachineError(
        "",
        problem=f"stage {stage.name} failed: {last_words(lines)}",
        remedy=f"its whole output is in {log}",
        code="stage-failed",
    )


def last_words(lines: list[str]) -> str:
    """The line that says why: the stage's own last one, or DVC's when the stage is not to blame."""
    told = [line.strip() for line in lines if line.strip()]
    faults = [number for number, line in enumerate(told) if line.startswith(_DVC_FAULT)]
    if not faults:
        return told[-1] if told else "it said nothing"
    verdict = told[faults[-1]]
    own = [line for line in told[: faults[-1]] if not line.startswith(_CHATTER)]
    if _STAGE_FAILED in verdict and own:
        return own[-1]
    return verdict.removeprefix(_DVC_FAULT).partition("': ")[2].strip() or verdict


_DVC_FAULT = "ERROR: "
_STAGE_FAILED = "failed to run: "
_CHATTER = ("Running stage", "> ", "excluded ", "Verifying", "WARNING: ")
