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
from synthct.flows.processes.children import Kept
from synthct.flows.run.progress import Event, EventTail
from synthct.flows.workspace.freshness import BUSY_WAIT_S, busy, dvc_command, waiting_for
from synthct.flows.workspace.project import Project, Step

_TICK_S = 0.2


@dataclass(frozen=True)
class Built:
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

    def begins(self, step: Step) -> None:
        """The stage starts."""

    def event(self, step: Step, event: Event) -> None:
        """One event of the stage."""

    def said(self, step: Step, line: str) -> None:
        """One line of output of the stage or of DVC."""

    def tick(self, step: Step) -> None:
        """About five times a second; raising here stops the stage."""

    def ends(self, step: Step, built: Built | None) -> None:
        """The stage is over; None: it failed."""


@dataclass(frozen=True)
class Record:
    """Folder of one run of the chain: events, output, times."""

    folder: Path

    @property
    def events(self) -> Path:
        """The event file that all stages of the run append to."""
        return self.folder / "events.jsonl"

    def output(self, step: Step) -> Path:
        """Whole output of a stage."""
        return self.folder / f"{step.name}.log"


def build_stage(
    project: Project,
    step: Step,
    record: Record,
    environment: dict[str, str],
    listeners: Iterable[Listener],
) -> Built:
    """Bring one stage up to date; it and all it started are gone when this returns or raises."""
    listeners = list(listeners)
    # The lock is waited for: another workspace of the same checkout may be at work.
    command = dvc_command("--wait-for-lock", "repro", "--single-item", step.target)
    for listener in listeners:
        listener.begins(step)
    built: Built | None = None
    started = time.monotonic()
    try:
        while True:
            with Kept(command, folder=project.root, environment=environment) as child:
                lines = _follow(child, step, record, listeners)
                code = child.wait()
            if code == 0 or not busy(lines):
                break
            _wait(step, listeners, waiting_for(lines))
        if code != 0:
            raise dvc_killed(step, code) or stage_failed(step, lines, record.output(step))
        built = Built(step.name, how_built(lines), round(time.monotonic() - started, 1))
        return built
    finally:
        for listener in listeners:
            listener.ends(step, built)


def run_alone(project: Project, name: str) -> int:
    """``python -m synthct.tasks NAME`` in the project's workspace, unseen by DVC; its exit code."""
    command = [sys.executable, "-m", "synthct.tasks", name, "--workspace", str(project.workspace)]
    environment = project.environment()
    return subprocess.run(command, cwd=project.root, env=environment, check=False).returncode


def _follow(child: Kept, step: Step, record: Record, listeners: list[Listener]) -> list[str]:
    """Pass on events and output until the child ends; all its lines."""
    lines: list[str] = []
    tail = EventTail(record.events)
    for _ in tail.new():
        pass  # what earlier stages wrote
    with record.output(step).open("a") as log:
        for line in child.lines(_TICK_S):
            if line is not None:
                lines.append(line)
                log.write(line + "\n")
                log.flush()
                for listener in listeners:
                    listener.said(step, line)
            _pass_on(tail, step, listeners)
    _pass_on(tail, step, listeners)
    return lines


def _wait(step: Step, listeners: list[Listener], told: str) -> None:
    """Until the next try, in which a person may cancel."""
    for listener in listeners:
        listener.said(step, told)
    until_s = time.monotonic() + BUSY_WAIT_S
    while time.monotonic() < until_s:
        for listener in listeners:
            listener.tick(step)
        time.sleep(min(_TICK_S, BUSY_WAIT_S))


def _pass_on(tail: EventTail, step: Step, listeners: list[Listener]) -> None:
    for event in tail.new():
        for listener in listeners:
            listener.event(step, event)
    for listener in listeners:
        listener.tick(step)


def how_built(lines: Iterable[str]) -> str:
    """What DVC's output says it did."""
    text = "\n".join(lines)
    if "Running stage" in text:
        return "ran"
    return "restored" if "skipping run" in text else "current"


def dvc_killed(step: Step, code: int) -> MachineError | None:
    """The fault of a DVC that a signal ended (the keeper gives 128 + its number); else None.

    A stage that is killed is another matter: DVC lives to say so.
    """
    number = -code if code < 0 else code - 128
    if number not in set(signal.Signals):
        return None
    return MachineError(
        "DVC runs until its stage has ended",
        problem=f"DVC was ended by {signal.Signals(number).name} while stage {step.name} ran; the "
        "stage itself did not fail",
        where=step.name,
        remedy="somebody stopped it, or memory ran out (`dmesg` tells); the same command goes on "
        "where it stopped",
        code="dvc-killed",
    )


def stage_failed(step: Step, lines: list[str], log: Path) -> MachineError:
    """The fault of a stage that ended badly, in its own last words."""
    return MachineError(
        f"stage {step.name} failed: {last_words(lines)}",
        remedy=f"all it said: {log}",
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
