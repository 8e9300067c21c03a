"""Where a network is trained: in this process, or in children whose device memory dies with them.

Run as ``python -m synthct.tasks.training.launch ORDER.json`` it is such a child.
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

FAULT, POLL_S = "error.json", 0.05


def train(*, scratch: Path, **order: Any) -> None:
    """Unit: :func:`synthct.tasks.training.fit.fit`, in as many processes as the environment says.

    Takes what ``fit`` takes. A child that fails stops the others; its fault is raised here.
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
            f"{TRAINING_PROCESSES} is a number of processes",
            problem=f"{TRAINING_PROCESSES} is {asked!r}",
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
            raise _fault(folder, children[failed].returncode)


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
    if rank:  # the first one speaks for all
        environment.pop(EVENTS, None)
    command = [sys.executable, "-m", "synthct.tasks.training.launch", str(own / "order.json")]
    return subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL)


def _wait(children: Sequence[subprocess.Popen[bytes]]) -> int | None:
    """Until all are done or one has failed; which."""
    while True:
        codes = [child.poll() for child in children]
        for rank, code in enumerate(codes):
            if code:
                return rank
        if all(code == 0 for code in codes):
            return None
        time.sleep(POLL_S)


def _fault(folder: Path, code: int) -> SynthctError:
    """What the first of the children told; the others fail because it left."""
    for file in sorted(folder.glob(f"*/{FAULT}"), key=lambda path: path.stat().st_mtime_ns)[:1]:
        told = json.loads(file.read_text())
        kind = getattr(synthct.data.errors, told.pop("kind"))
        fault: SynthctError = kind.from_json(told)
        return fault
    return MachineError(
        "",
        problem=f"the training process ended with exit code {code}"
        + (" (killed, perhaps for lack of memory)" if code == -9 else ""),
        remedy="run the same command again: it goes on from the last checkpoint",
        code="training-died",
    )


def main(order_file: Path) -> int:
    """Train as one of the team that the order names; a fault goes into a file beside it."""
    order = json.loads(order_file.read_text())
    apply_limits(order["threads"])
    values: dict[str, Any] = order["values"]
    paths: dict[str, Any] = {name: Path(path) for name, path in order["paths"].items()}
    try:
        if order["count"] > 1:
            device = "cuda" if _on_gpu(values["params"]["device"]) else "cpu"
            join(order["rank"], order["count"], Path(order["meeting"]), device)
        fit(**values, **paths)
    except SynthctError as fault:
        return _tell(fault, order_file)
    except Exception as error:  # noqa: BLE001 - the parent tells it
        got = f"{type(error).__name__}: {error}"
        return _tell(
            MachineError(
                "",
                problem=f"training failed: {got}",
                code="training-died",
            ),
            order_file,
        )
    if order["count"] > 1:
        torch.distributed.barrier()  # nobody leaves while another still talks
        torch.distributed.destroy_process_group()
    return 0


def _tell(fault: SynthctError, order_file: Path) -> int:
    told = {"kind": type(fault).__name__, **fault.as_json()}
    write_whole(order_file.parent / FAULT, canonical_json(told))
    traceback.print_exc()
    return 1


def _on_gpu(device: str) -> bool:
    return device != "cpu" and torch.cuda.is_available()


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
