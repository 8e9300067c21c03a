"""What the event files and the tables of a checkout tell, for the page and the metrics."""

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
"""An older picture of a cluster is of one that is gone."""

_KEPT_RUNS = 20

_ODD = (ValueError, KeyError, TypeError, AttributeError, OverflowError, csv.Error)
"""What a file raises that has other fields, columns or types than ours."""

_OF_A_WORKER = {
    "name": str, "memory_bytes": float, "memory_limit_bytes": float, "spilled_bytes": float,
    "cpu_percent": float, "executing": int, "ready": int, "gpus": float,
}  # fmt: skip


@dataclass
class Record:
    """One run as its events tell it; fed as they come, so a long run is not read twice."""

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
        """Take in what is new."""
        self._tail = self._tail or EventTail(self.folder / "events.jsonl")
        for event in self._tail.new():
            # A line of somebody else's, or of another version: it is not shown, nothing more.
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
        """The workers, if there are any now."""
        try:
            told = json.loads((self.folder / CLUSTER_FILE).read_text())
            fresh = time.time() - float(told["time_s"]) < _FRESH_S
            seen = {"dashboard": _web(told.get("dashboard"))}
            return {**seen, "workers": [_worker(each) for each in told["workers"]]} if fresh else {}
        except (OSError, *_ODD):
            return {}


@dataclass
class Records:
    """The newest runs of one checkout."""

    root: Path
    known: dict[str, Record] = field(default_factory=dict)

    def read(self) -> list[Record]:
        """Newest first."""
        folder = self.root / PRIVATE / "runs"
        names = sorted((p.name for p in folder.iterdir()), reverse=True) if folder.is_dir() else []
        names = names[:_KEPT_RUNS]
        self.known = {name: self.known.get(name) or Record(folder / name) for name in names}
        for record in self.known.values():
            with contextlib.suppress(OSError):  # removed meanwhile, or not ours to read
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


def models(root: Path) -> Iterator[Model]:
    """Of the root, of every workspace, and of the newest scheduled run of each."""
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
    """When the newest table was written; 0 where there is none. A table may go at any moment."""
    newest_s = 0.0
    for path in _tables(folder):
        with contextlib.suppress(OSError):
            newest_s = max(newest_s, path.stat().st_mtime)
    return newest_s


def _step(event: Event) -> Event:
    """Of a training step the numbers that the exporter tells."""
    told: Event = {"terms": {str(k): float(v) for k, v in event["terms"].items()}}
    for name in ("best_validation_mae_hu", "patches_per_s"):
        told[name] = float(event[name]) if event.get(name) is not None else None
    return told


def _web(address: object) -> str | None:
    """The address of a page; None for anything else."""
    told = str(address or "")
    return told if re.fullmatch(r"https?://[^/\s]+(/\S*)?", told) else None


def _worker(told: dict[str, Any]) -> dict[str, Any]:
    """A worker's facts, of the types that page and exporter show."""
    return {name: kind(told[name]) for name, kind in _OF_A_WORKER.items()}


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
    )


def _rows(path: Path) -> Iterable[dict[str, str]]:
    try:
        return read_table(path)
    except (OSError, *_ODD):
        return []


def _number(told: str | None) -> float | None:
    try:
        number = float(told or "")
    except ValueError:
        return None
    return number if math.isfinite(number) else None
