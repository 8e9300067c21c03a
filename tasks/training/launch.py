"""Trains a network in this process, or in child processes whose end frees the device memory.

``python -m synthct.tasks.training.launch ORDER.json`` runs such a child.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

import synthct.data.errors
from synthct.data.environment import EVENTS, TRAINING_PROCESSES
from synthct.data.errors import MachineError, SynthctError
from synthct.data.files import canonical_json, write_whole
from synthct.data.temporary import temporary_folder
from synthct.tasks.pipeline.threads import apply_limits
from synthct.tasks.training.fit import fit
from synthct.tasks.training.team import join

ERROR, POLL_S = "error.json", 0.05


def train(*, scratch: Path, **order: Any) -> None:
    """Unit function: :func:`synthct.tasks.training.fit.fit` in ``$SYNTHCT_TRAINING_PROCESSES``.

    The parameters are those of ``fit``. A child that fails stops the others, and its error is
    raised here.
    """
    order["scratch"] = scratch
    count = _processes(str(order["params"]["device"]))
    if count == 0:
        fit(**order)
        return
    paths = {name: value for name, value in order.items() if isinstance(value, Path)}
    values = {name: value for name, value in order.items() if name not in paths}
    _in_children(count, values, paths)


def _processes(device: str) -> int:
    asked = os.environ.get(TRAINING_PROCESSES, "")
    if asked and not asked.isdecimal():
        raise MachineError(
            f"{TRAINING_PROCESSES} is {asked!r}",
            rule=f"{TRAINING_PROCESSES} is a number of processes",
            remedy="set it to a number, or unset it",
            code="processes",
        )
    if asked:
        return int(asked)
    return int(device != "cpu" and torch.cuda.is_available())


def _in_children(count: int, values: Mapping[str, Any], paths: Mapping[str, Path]) -> None:
    with temporary_folder("training") as folder:
        children = [_start(rank, count, folder, values, paths) for rank in range(count)]
        try:
            failed = _wait(children)
        finally:
            for child in children:
                child.kill()
                child.wait()
        if failed is not None:
            raise _error(folder, children[failed].returncode)


def _start(
    rank: int, count: int, folder: Path, values: Mapping[str, Any], paths: Mapping[str, Path]
) -> subprocess.Popen[bytes]:
    own = folder / str(rank)
    own.mkdir()
    order = {
        "rank": rank,
        "count": count,
        "meeting": str(folder / "meeting"),
        "threads": torch.get_num_threads(),
        "values": values,
        "paths": {name: str(path.absolute()) for name, path in paths.items()},
    }
    write_whole(own / "order.json", canonical_json(order))
    environment = dict(os.environ)
    if rank:  # only the first one reports events
        environment.pop(EVENTS, None)
    command = [sys.executable, "-m", "synthct.tasks.training.launch", str(own / "order.json")]
    return subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL)


def _wait(children: Sequence[subprocess.Popen[bytes]]) -> int | None:
    """Wait until all are done (None) or one has failed (its rank)."""
    while True:
        codes = [child.poll() for child in children]
        for rank, code in enumerate(codes):
            if code:
                return rank
        if all(code == 0 for code in codes):
            return None
        time.sleep(POLL_S)


def _error(folder: Path, code: int) -> SynthctError:
    """The error of the child that failed first; the others fail because it is gone."""
    for file in sorted(folder.glob(f"*/{ERROR}"), key=lambda path: path.stat().st_mtime_ns)[:1]:
        fields = json.loads(file.read_text())
        kind = getattr(synthct.data.errors, fields.pop("kind"))
        error: SynthctError = kind.from_json(fields)
        return error
    return MachineError(
        f"the training process ended with exit code {code}"
        + (" (killed, perhaps for lack of memory)" if code == -9 else ""),
        remedy="run the same command again: it continues from the last checkpoint",
        code="training-died",
    )


def main(order_file: Path) -> int:
    """Train as one process of a team; an error is written next to the order file."""
    order = json.loads(order_file.read_text())
    apply_limits(order["threads"])
    values: dict[str, Any] = order["values"]
    paths: dict[str, Any] = {name: Path(path) for name, path in order["paths"].items()}
    try:
        if order["count"] > 1:
            device = "cuda" if _on_gpu(values["params"]["device"]) else "cpu"
            join(order["rank"], order["count"], Path(order["meeting"]), device)
        fit(**values, **paths)
    except SynthctError as error:
        return _report(error, order_file)
    except Exception as error:  # noqa: BLE001 - the parent reports it
        failure = MachineError(
            f"training failed: {type(error).__name__}: {error}", code="training-died"
        )
        return _report(failure, order_file)
    if order["count"] > 1:
        torch.distributed.barrier()  # no process leaves while another still communicates
        torch.distributed.destroy_process_group()
    return 0


def _report(error: SynthctError, order_file: Path) -> int:
    fields = {"kind": type(error).__name__, **error.as_json()}
    write_whole(order_file.parent / ERROR, canonical_json(fields))
    traceback.print_exc()
    return 1


def _on_gpu(device: str) -> bool:
    return device != "cpu" and torch.cuda.is_available()


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
