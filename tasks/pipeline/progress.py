"""Progress of a stage from its events, as a line of text."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from synthct.tasks.pipeline.estimate import TimeLeft

Event = dict[str, Any]

SILENCE_S = 10.0
"""Time without output after which a stage reports its progress [s]."""


@dataclass
class StageProgress:
    """Progress of a stage, updated with its events."""

    total: int = 0
    done: int = 0
    reused: int = 0
    excluded: int = 0
    text: str = ""
    _fractions: dict[str, float] = field(default_factory=dict)
    _estimate: TimeLeft = field(default_factory=TimeLeft)
    _begun_s: float = field(default_factory=lambda: time.monotonic())

    def take(self, event: Event) -> None:
        """Update the progress with one event."""
        kind, unit = event.get("kind"), str(event.get("unit", ""))
        now_s = float(event.get("time_s") or time.time())
        if kind == "units_planned":
            self.total, self.reused = int(event["total"]), int(event["reused"])
            self.done = self.reused
            self._estimate.planned(event.get("efforts", {}), self.total - self.reused, now_s)
        elif kind == "workers":
            self._estimate.workers(int(event["count"]), now_s)
        elif kind in ("unit_done", "unit_failed"):
            self.done = int(event.get("done", self.done + 1))
            self.excluded += bool(event.get("excluded"))
            self._fractions.pop(unit, None)
            self._estimate.ended(
                unit, now_s, seconds=event.get("seconds"),
                warm_up_s=float(event.get("import_s", 0.0)),
                counts=kind == "unit_done" and not event.get("reused"),
                excluded=bool(event.get("excluded")),
            )  # fmt: skip
        elif kind == "step":
            self.text = _step_text(event)
            if event.get("total"):
                self._fractions[unit] = min(1.0, float(event["step"]) / float(event["total"]))
                self._estimate.step(unit, self._fractions[unit], now_s)
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
        return self.left_at(time.time())

    def left_at(self, now_s: float) -> float | None:
        """The same at another time of the clock that stamped the events [s]."""
        return self._estimate.left_s(now_s)

    def line(self, stage: str) -> str:
        """One line: units done, the latest step, time so far and left."""
        parts = [f"{self.done} of {self.total} units done"] if self.total else []
        parts += [self.text] if self.text else []
        parts.append(f"{spelled_s(time.monotonic() - self._begun_s)} so far")
        left_s = self.left_s
        if left_s is not None and self.position < self.total:
            parts.append(f"about {spelled_s(left_s)} left")
        return f"{stage}: {', '.join(parts)}"


class Heartbeat:
    """Says when a line is due, because nothing was printed for :data:`SILENCE_S`."""

    def __init__(self) -> None:
        self._spoken_s = time.monotonic()

    def spoke(self) -> None:
        """Record that something was printed now."""
        self._spoken_s = time.monotonic()

    @property
    def due(self) -> bool:
        """Whether a progress line is due."""
        return time.monotonic() - self._spoken_s >= SILENCE_S


def spelled_s(seconds: float) -> str:
    """A duration for people: ``8 s``, ``3 min 20 s``, ``1 h 05 min``."""
    rounded = round(seconds)
    if rounded < 60:
        return f"{rounded} s"
    if rounded < 3600:
        return f"{rounded // 60} min {rounded % 60:02d} s"
    return f"{rounded // 3600} h {rounded % 3600 // 60:02d} min"


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
