"""Read the event file of a run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from synthct.tasks.pipeline.progress import Event, StageProgress

__all__ = ["Event", "EventTail", "StageProgress", "event_line"]


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
            except (ValueError, RecursionError):
                continue  # a line truncated by a full disk


def event_line(event: Event, left_s: float | None = None) -> str:
    """One event as a readable line; "" if it has none or lacks fields (third-party stages).

    ``left_s``: seconds until the stage's other units are done, as far as known.
    """
    from synthct.tasks.pipeline.terminal import spelled

    try:
        return spelled(event, left_s)
    except (KeyError, TypeError, ValueError):
        return ""
