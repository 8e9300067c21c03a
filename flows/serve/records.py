"""Read the event files and result tables of a checkout, for the status page and the metrics."""

from __future__ import annotations

import contextlib
import csv
import json
import math
import re
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean, median
from typing import Any

from synthct.data.tables import read_table
from synthct.flows.clusters.activity import FILE as CLUSTER_FILE
from synthct.flows.run.progress import Event, EventTail, StageProgress
from synthct.flows.workspace.project import PRIVATE
from synthct.tasks.pipeline.artefacts import QUALITY_TABLE, SCORES

_FRESH_S = 30.0
"""Age from which the state of a cluster is outdated: its run has ended."""

_KEPT_RUNS = 20

_ODD = (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError, csv.Error)
"""Errors from files with unexpected fields, columns or types."""

_WORKER_FIELDS = {
    "name": str, "memory_bytes": float, "memory_limit_bytes": float, "spilled_bytes": float,
    "cpu_percent": float, "executing": int, "ready": int, "gpus": float,
}  # fmt: skip


@dataclass
class Record:
    """State of one run, updated incrementally with the new lines of its event file."""

    folder: Path
    stage: str = ""
    stage_s: dict[str, float] = field(default_factory=dict)
    progress: StageProgress = field(default_factory=StageProgress)
    steps: dict[str, Event] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    last_s: float = 0.0
    _started_s: dict[str, float] = field(default_factory=dict)
    _tail: EventTail | None = None

    def read(self) -> None:
        """Read the new events."""
        self._tail = self._tail or EventTail(self.folder / "events.jsonl")
        for event in self._tail.new():
            # An event of another version or a third-party stage may lack fields: skip it.
            with contextlib.suppress(*_ODD):
                self._take(event)

    def _take(self, event: Event) -> None:
        kind, stage = event.get("kind"), str(event.get("stage", ""))
        self.last_s = float(event.get("time_s", self.last_s))
        self.counts[str(kind)] += 1
        if kind == "stage_started":
            self.stage, self.progress = stage, StageProgress()
            self._started_s[stage] = self.last_s
        elif kind == "stage_done" and stage in self._started_s:
            self.stage_s[stage] = self.last_s - self._started_s[stage]
        elif kind == "step" and isinstance(event.get("terms"), dict):
            self.steps[str(event.get("unit", ""))] = _step(event)
        self.progress.take(event)

    @property
    def cluster(self) -> dict[str, Any]:
        """Dashboard and workers of the run's cluster; empty if there is none now."""
        try:
            state = json.loads((self.folder / CLUSTER_FILE).read_text())
            if time.time() - float(state["time_s"]) >= _FRESH_S:
                return {}
            workers = [_worker(each) for each in state["workers"]]
            return {"dashboard": _web(state.get("dashboard")), "workers": workers}
        except (OSError, *_ODD):
            return {}


@dataclass
class Records:
    """The newest runs of one checkout."""

    root: Path
    known: dict[str, Record] = field(default_factory=dict)

    def read(self) -> list[Record]:
        """The runs, newest first."""
        folder = self.root / PRIVATE / "runs"
        names = sorted((p.name for p in folder.iterdir()), reverse=True) if folder.is_dir() else []
        names = names[:_KEPT_RUNS]
        self.known = {name: self.known.get(name) or Record(folder / name) for name in names}
        for record in self.known.values():
            with contextlib.suppress(OSError):  # removed meanwhile, or not readable
                record.read()
        return list(self.known.values())


@dataclass(frozen=True)
class Model:
    """Tables of a workspace's newest results."""

    workspace: str
    scores: dict[tuple[str, ...], float]
    """Mean over cases by (source, method, reference, metric)."""
    verdicts: dict[tuple[str, str], int]
    """Registered cases by (source, verdict)."""
    intensities: dict[str, tuple[float, float, float]]
    """(smallest, median, largest) body median by modality."""
    made_s: float
    """When the newest table was written."""
    folder: Path
    """Outputs of its stages, as far as they are kept."""


def models(root: Path) -> Iterator[Model]:
    """Results of every workspace: of its newest scheduled run or of the checkout, if newer."""
    folders = {"demo": root / "data" / "artefacts"}
    for place in sorted((root / "workspaces").glob("*/artefacts")):
        folders[place.parent.name] = place
    for place in sorted((root / PRIVATE / "scheduled").glob("*")):
        if _newest(place) >= _newest(folders.get(place.name)):
            folders[place.name] = place
    for name, folder in sorted(folders.items()):
        if _newest(folder):
            with contextlib.suppress(*_ODD):
                yield _model(name, folder)


def _tables(folder: Path | None) -> list[Path]:
    if folder is None:
        return []
    names = (
        f"ingestion/{QUALITY_TABLE}", f"registration/{QUALITY_TABLE}", f"evaluation/{SCORES}",
    )  # fmt: skip
    return [folder / name for name in names]


def _newest(folder: Path | None) -> float:
    """Modification time of the newest table; 0 if there is none or it is removed meanwhile."""
    newest_s = 0.0
    for path in _tables(folder):
        with contextlib.suppress(OSError):
            newest_s = max(newest_s, path.stat().st_mtime)
    return newest_s


def _step(event: Event) -> Event:
    """The numbers of a training step that the exporter publishes."""
    step: Event = {"terms": {str(k): float(v) for k, v in event["terms"].items()}}
    for name in ("best_validation_mae_hu", "patches_per_s"):
        step[name] = float(event[name]) if event.get(name) is not None else None
    return step


def _web(address: object) -> str | None:
    """The address if it is an http(s) URL, else None."""
    url = str(address or "")
    return url if re.fullmatch(r"https?://[^/\s]+(/\S*)?", url) else None


def _worker(state: dict[str, Any]) -> dict[str, Any]:
    """A worker's state, converted to the types that page and exporter expect."""
    return {name: kind(state[name]) for name, kind in _WORKER_FIELDS.items()}


def _model(name: str, folder: Path) -> Model:
    values: dict[tuple[str, ...], list[float]] = defaultdict(list)
    for row in _rows(folder / "evaluation" / SCORES):
        number = _number(row.get("value"))
        key = tuple(row.get(column) or "" for column in ("source", "method", "reference", "metric"))
        if number is not None and all(key):
            values[key].append(number)
    verdicts = Counter(
        (row.get("source") or "", row.get("verdict") or "")
        for row in _rows(folder / "registration" / QUALITY_TABLE)
    )
    medians: dict[str, list[float]] = defaultdict(list)
    for row in _rows(folder / "ingestion" / QUALITY_TABLE):
        number = _number(row.get("body_median"))
        if number is not None:
            medians[row.get("modality") or ""].append(number)
    return Model(
        name,
        {key: fmean(each) for key, each in values.items()},
        dict(verdicts),
        {key: (min(each), median(each), max(each)) for key, each in medians.items()},
        _newest(folder),
        folder,
    )


def _rows(path: Path) -> Iterable[dict[str, str]]:
    try:
        return read_table(path)
    except (OSError, *_ODD):
        return []


def _number(text: str | None) -> float | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if math.isfinite(number) else None
