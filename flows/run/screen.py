"""Terminal output of a run: progress bars with the time left, or plain lines in a log."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from synthct.flows.run.progress import Event, StageProgress, event_line
from synthct.flows.run.stages import StageResult
from synthct.flows.workspace.project import StageTarget
from synthct.tasks.pipeline.progress import Heartbeat, spelled_s

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID
    from rich.table import Column


def open_screen(console: Console) -> Lines | Bars:
    """Progress bars on a terminal, plain lines in a file or pipe."""
    return Bars(console) if console.is_terminal else Lines(console)


class Lines:
    """Prints a line at the start and end of each stage, for each unit, and at least every 10 s."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress = StageProgress()
        self._heartbeat = Heartbeat()

    def __enter__(self) -> Lines:
        return self

    def __exit__(self, *_: object) -> None:
        return

    def started(self, stage: StageTarget) -> None:
        """Print the stage's name and summary."""
        self._progress = StageProgress()
        self._say(f"{stage.name}: {stage.summary}" if stage.summary else stage.name)

    def event(self, stage: StageTarget, event: Event) -> None:
        """Print the events that are worth reading."""
        self._progress.take(event)
        if line := event_line(event, self._progress.left_s):
            self._say(line)

    def output(self, stage: StageTarget, line: str) -> None:
        """Not shown: the output is in the run's folder."""

    def tick(self, stage: StageTarget) -> None:
        """Say how far the stage is, if nothing was printed for a while."""
        if self._heartbeat.due:
            self._say(self._progress.line(stage.name))

    def finished(self, stage: StageTarget, built: StageResult | None) -> None:
        """Print how the stage ended."""
        what = f"{built.how}, {built.seconds:.1f} s" if built else "failed"
        self._say(f"{stage.name}: {what}")

    def _say(self, line: str) -> None:
        self._heartbeat.spoke()
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)


class Bars:
    """One progress bar per stage: units done, total and reused, time elapsed and left."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._display: Progress | None = None
        self._bar: TaskID | None = None
        self._progress = StageProgress()
        self._started_s = 0.0

    def __enter__(self) -> Bars:
        from rich.progress import BarColumn, Progress, TextColumn

        self._display = Progress(
            TextColumn("{task.description}", table_column=_column(12)),
            BarColumn(bar_width=24, table_column=_column(24)),
            TextColumn("{task.fields[count]}", table_column=_column(7, justify="right")),
            TextColumn("{task.fields[clock]}", table_column=_column(24)),
            TextColumn("[dim]{task.fields[text]}", table_column=_column(10, ratio=1)),
            console=self._console,
            expand=True,
        )
        self._display.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._shown.stop()

    @property
    def _shown(self) -> Progress:
        assert self._display is not None, "enter first"
        return self._display

    def started(self, stage: StageTarget) -> None:
        """Add a bar, which pulses until the stage has planned its units."""
        self._progress, self._started_s = StageProgress(), time.monotonic()
        self._bar = self._shown.add_task(
            stage.name, total=None, count="", clock="", text=stage.summary
        )

    def event(self, stage: StageTarget, event: Event) -> None:
        """Update the progress; a failed unit is printed at once."""
        self._progress.take(event)
        if event.get("kind") == "unit_failed":
            self._shown.console.print(
                f"{stage.name}: {event.get('unit')} failed: {event.get('error')}", markup=False
            )

    def output(self, stage: StageTarget, line: str) -> None:
        """Not shown: the output is in the run's folder."""

    def tick(self, stage: StageTarget) -> None:
        """Redraw the bar."""
        from rich.markup import escape

        now = self._progress
        clock = spelled_s(time.monotonic() - self._started_s)
        left_s = now.left_s
        if left_s is not None and now.position < now.total:
            clock += f", {spelled_s(left_s)} left"
        self._update(
            completed=now.position,
            total=now.total or None,
            count=f"{now.done}/{now.total}" if now.total else "",
            clock=clock,
            text=escape(now.text or stage.summary),
        )

    def finished(self, stage: StageTarget, built: StageResult | None) -> None:
        """Show on the bar how the stage ended."""
        now = self._progress
        notes = [built.how if built else "failed"]
        notes += [f"{now.reused} reused"] if now.reused else []
        notes += [f"{now.excluded} excluded"] if now.excluded else []
        self._update(
            completed=1.0 if built else 0.0,
            total=1.0,
            count=f"{now.done}/{now.total}" if now.total else "",
            clock=spelled_s(time.monotonic() - self._started_s),
            text=", ".join(notes),
        )

    def _update(self, **fields: Any) -> None:
        assert self._bar is not None, "started() comes first"
        self._shown.update(self._bar, **fields)


def _column(width: int, **more: Any) -> Column:
    from rich.table import Column

    return Column(no_wrap=True, overflow="ellipsis", min_width=width, **more)
