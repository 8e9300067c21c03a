"""What the event file says about a stage in progress."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Event = dict[str, Any]


class EventTail:
    """New whole lines of a growing JSON-lines file."""

    def __init__(self, path: Path) -> None:
        self._path, self._offset = path, 0

    def new(self) -> Iterator[Event]:
        """Events appended since the last call; a line that is still being written waits."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                block = file.read()
        except FileNotFoundError:
            return
        whole = block[: block.rfind(b"\n") + 1]
        self._offset += len(whole)
        for line in whole.splitlines():
            try:
                yield json.loads(line)
            except ValueError:
                continue  # a line that a full disk cut short


@dataclass
class StageProgress:
    """How far a stage is; fed with its events."""

    total: int = 0
    done: int = 0
    reused: int = 0
    excluded: int = 0
    text: str = ""
    _fractions: dict[str, float] = field(default_factory=dict)
    _planned_s: float = 0.0

    def take(self, event: Event) -> None:
        """Learn from one event."""
        kind, unit = event.get("kind"), str(event.get("unit", ""))
        if kind == "units_planned":
            self.total, self.reused = int(event["total"]), int(event["reused"])
            self.done, self._planned_s = self.reused, time.monotonic()
        elif kind in ("unit_done", "unit_failed"):
            self.done = int(event.get("done", self.done + 1))
            self.excluded += bool(event.get("excluded"))
            self._fractions.pop(unit, None)
        elif kind == "step":
            self.text = _steps_told(event)
            if event.get("total"):
                self._fractions[unit] = min(1.0, float(event["step"]) / float(event["total"]))
        elif kind == "note":
            self.text = str(event.get("text", ""))

    @property
    def position(self) -> float:
        """Units done, running ones by their fraction."""
        return self.done + sum(self._fractions.values())

    @property
    def percent(self) -> float:
        """Share that is done [%]."""
        return 100.0 * self.position / self.total if self.total else 0.0

    @property
    def left_s(self) -> float | None:
        """Seconds until all units are done, once something has been computed."""
        computed = self.position - self.reused
        if computed <= 0 or not self._planned_s:
            return None
        return (time.monotonic() - self._planned_s) / computed * (self.total - self.position)


def _steps_told(event: Event) -> str:
    """A ``step`` event in a few words: the step and its plain numbers."""
    step, total = event.get("step", ""), event.get("total")
    words = [str(event.get("unit", "")), f"step {step}/{total}" if total else str(step)]
    words += [
        f"{name} {value:.4g}"
        for name, value in event.items()
        if name not in _TOLD_APART and isinstance(value, int | float)
    ]
    return " ".join(word for word in words if word)


_TOLD_APART = {"time_s", "step", "total", "eta_s", "epoch"}


def event_line(event: Event) -> str:
    """One event as a line for people, or nothing: strangers' stages may leave fields out."""
    from synthct.tasks.pipeline.terminal import spelled

    try:
        return spelled(event)
    except (KeyError, TypeError, ValueError):
        return ""
