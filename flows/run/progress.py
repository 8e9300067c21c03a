"""Read the event file of a run and derive a stage's progress from it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Event = dict[str, Any]


class EventTail:
    """Reads the complete lines that are appended to a JSON-lines file."""

    def __init__(self, path: Path) -> None:
        self._path, self._offset = path, 0

    def new(self) -> Iterator[Event]:
        """Events appended since the last call; an incomplete last line is left for the next."""
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
    """Progress of a stage, updated with its events."""

    total: int = 0
    done: int = 0
    reused: int = 0
    excluded: int = 0
    text: str = ""
    _fractions: dict[str, float] = field(default_factory=dict)
    _planned_s: float = 0.0

    def take(self, event: Event) -> None:
        """Update the progress with one event."""
        kind, unit = event.get("kind"), str(event.get("unit", ""))
        if kind == "units_planned":
            self.total, self.reused = int(event["total"]), int(event["reused"])
            self.done, self._planned_s = self.reused, time.monotonic()
        elif kind in ("unit_done", "unit_failed"):
            self.done = int(event.get("done", self.done + 1))
            self.excluded += bool(event.get("excluded"))
            self._fractions.pop(unit, None)
        elif kind == "step":
            self.text = _step_text(event)
            if event.get("total"):
                self._fractions[unit] = min(1.0, float(event["step"]) / float(event["total"]))
        elif kind == "note":
            self.text = str(event.get("text", ""))

    @property
    def position(self) -> float:
        """Number of units done; running ones count by their fraction."""
        return self.done + sum(self._fractions.values())

    @property
    def percent(self) -> float:
        """Share of the units that is done [%]."""
        return 100.0 * self.position / self.total if self.total else 0.0

    @property
    def left_s(self) -> float | None:
        """Estimated seconds until all units are done; None until something has been computed."""
        computed = self.position - self.reused
        if computed <= 0 or not self._planned_s:
            return None
        return (time.monotonic() - self._planned_s) / computed * (self.total - self.position)


def _step_text(event: Event) -> str:
    """A ``step`` event in one short line: the step and its numbers."""
    step, total = event.get("step", ""), event.get("total")
    words = [str(event.get("unit", "")), f"step {step}/{total}" if total else str(step)]
    words += [
        f"{name} {value:.4g}"
        for name, value in event.items()
        if name not in _NOT_SHOWN and isinstance(value, int | float)
    ]
    return " ".join(word for word in words if word)


_NOT_SHOWN = {"time_s", "step", "total", "eta_s", "epoch"}


def event_line(event: Event) -> str:
    """One event as a readable line; "" if it has none or lacks fields (third-party stages)."""
    from synthct.tasks.pipeline.terminal import spelled

    try:
        return spelled(event)
    except (KeyError, TypeError, ValueError):
        return ""
