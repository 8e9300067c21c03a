"""Predict each scan that arrives once, in a child process of its own, and report every error."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from synthct.data.environment import PARENT_PID
from synthct.data.errors import DataError, MachineError, UsageError
from synthct.data.files import canonical_json, file_sha256, write_whole
from synthct.data.readers import format_by_name, format_of
from synthct.data.temporary import temporary_folder
from synthct.tasks.prediction.arrival import CHANGED, Arrival, Inbox
from synthct.tasks.prediction.checksums import checksums_of
from synthct.tasks.prediction.outbox import REPORT, Outbox, folder_name

MAX_CRASHES = 2
"""A scan is quarantined after its worker has died this often; otherwise it would be retried
forever."""

ANSWER = "answer.json"
_KINDS = {"data": DataError, "machine": MachineError, "usage": UsageError}


@dataclass(frozen=True)
class BatchSettings:
    """Settings of all predictions of a batch.

    Parameters
    ----------
    model
        Release folder.
    form
        ``mha``, ``nii.gz``, ``nrrd``, or ``dicom``.
    identified
        For DICOM input and output: copy patient, study and frame of reference from each scan.
    keep_names
        Name results after the inbox entries, whose names may identify patients.
    uncertainty
        Also write the spread over folds and flips.
    options
        :class:`synthct.tasks.prediction.networks.PredictOptions` as JSON.
    public_key
        Public key with which the release must be signed.
    series
        Number, description or UID of the series to predict, for scans that are DICOM.
    """

    model: Path
    form: str = "mha"
    identified: bool = False
    keep_names: bool = False
    uncertainty: bool = False
    options: dict[str, Any] = field(default_factory=dict)
    public_key: Path | None = None
    series: str = ""

    def release(self) -> str:
        """Hash of the release; raises if there is none, even if no scan is waiting."""
        return file_sha256(checksums_of(self.model))

    def key(self, arrival: Arrival) -> str:
        """Hash of the scan's bytes, the release and the settings; a new release gives a new key."""
        parts: list[Any] = [arrival.content, self.release(), self.form, self.identified]
        parts += [self.uncertainty, self.options, *([self.series] if self.series else [])]
        text = json.dumps(parts, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class Result:
    """Outcome for one arrival: ``done``, ``quarantined``, ``busy``, ``changed`` or ``crashed``."""

    key: str
    status: str
    message: str = ""


def waiting(inbox: Inbox, outbox: Outbox, settings: BatchSettings) -> list[tuple[str, Arrival]]:
    """Keys and arrivals without a result; entries with equal bytes count as one scan."""
    settings.release()
    found: dict[str, Arrival] = {}
    for arrival in inbox.arrivals():
        key = settings.key(arrival)
        if key not in found and not outbox.settled(key):
            found[key] = arrival
    return list(found.items())


def predict_arrival(
    key: str, arrival: Arrival, inbox: Inbox, outbox: Outbox, settings: BatchSettings
) -> Result:
    """Predict one scan and publish the result, or the reason why there is none.

    Raises
    ------
    MachineError, UsageError
        An error that would affect every scan (full disk, damaged release); nothing is recorded.
    """
    with outbox.claim(key) as handle:
        if handle is None or outbox.settled(key):
            return Result(key, "busy" if handle is None else "done")
        name = folder_name(key, arrival.name if settings.keep_names else None)
        try:
            with outbox.publish(name) as building:
                document = _in_child(key, arrival, inbox, settings, building, handle)
                report = {"scan": key[:16], "status": "done", **document}
                write_whole(building / REPORT, canonical_json(report))
            return Result(key, "done", "; ".join(document["notes"]))
        except DataError as error:
            outbox.set_aside(name, {"scan": key[:16], "status": "quarantined", **error.as_json()})
            return Result(key, "quarantined", str(error))
        except MachineError as error:
            if error.code != CHANGED:  # still being sent: polled again
                raise
            return Result(key, "changed", str(error))
        except _Died as death:
            return _crashed(key, name, outbox, death)


def predict_waiting(inbox: Inbox, outbox: Outbox, settings: BatchSettings) -> Iterator[Result]:
    """Predict all waiting scans, one after the other."""
    for key, arrival in waiting(inbox, outbox, settings):
        yield predict_arrival(key, arrival, inbox, outbox, settings)


class _Died(Exception):
    """The worker process ended without writing an answer."""


def _crashed(key: str, name: str, outbox: Outbox, death: _Died) -> Result:
    if outbox.crashes(key, one_more=True) < MAX_CRASHES:
        return Result(key, "crashed", f"{death}; it is tried once more")
    error = DataError(
        f"the process that predicts the scan died {MAX_CRASHES} times: {death}",
        where=key[:16],
        remedy="predict it alone with `synthct predict`, with more memory",
        code="worker-died",
    )
    outbox.set_aside(name, {"scan": key[:16], "status": "quarantined", **error.as_json()})
    return Result(key, "quarantined", str(error))


def _in_child(
    key: str, arrival: Arrival, inbox: Inbox, settings: BatchSettings, building: Path, handle: int
) -> dict[str, Any]:
    """Run the prediction in a process of its own, which dies with this one."""
    with temporary_folder("inbox") as folder:
        scan = _alone(inbox.fetch(arrival, folder))
        order = {
            "model": str(settings.model.absolute()), "scan": str(scan), "out": str(building),
            "form": settings.form, "identified": settings.identified, "options": settings.options,
            "uncertainty": settings.uncertainty, "answer": str(folder / ANSWER), "key": key[:16],
            "public_key": str(settings.public_key.absolute()) if settings.public_key else None,
            "series": settings.series,
        }  # fmt: skip
        write_whole(folder / "order.json", canonical_json(order))
        child = subprocess.run(
            [sys.executable, "-m", "synthct.tasks.prediction.worker", str(folder / "order.json")],
            env={**os.environ, PARENT_PID: str(os.getpid())},
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            start_new_session=True, pass_fds=(handle,), check=False,
        )  # fmt: skip
        if not (folder / ANSWER).is_file():
            raise _Died(_last_words(child))
        answer = json.loads((folder / ANSWER).read_text())
    if answer["kind"] == "done":
        return dict(answer["document"])
    raise _KINDS[answer["kind"]].from_json(answer["error"])


def _alone(scan: Path) -> Path:
    """The only image in a folder, since some senders put every scan into its own folder."""
    if not scan.is_dir() or format_of(scan) != "dicom":
        return scan
    files = [path for path in scan.rglob("*") if path.is_file() and path.name[0] != "."]
    if len(files) == 1 and format_by_name(files[0].name):
        return files[0]
    inside = [path for path in scan.iterdir() if path.name[0] != "."]
    if len(inside) == 1 and inside[0].is_dir() and format_of(inside[0]) == "ome-zarr":
        return inside[0]
    return scan


def _last_words(child: subprocess.CompletedProcess[bytes]) -> str:
    if child.returncode < 0:
        return f"the worker was killed by signal {-child.returncode}"
    lines = child.stderr.decode(errors="replace").strip().splitlines() or ["no word"]
    return f"the worker ended with {child.returncode}: {lines[-1][:200]}"
