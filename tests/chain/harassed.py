"""A real stage of the tiny chain whose workers are killed at random moments, again and again."""

from __future__ import annotations

import contextlib
import json
import random
import shutil
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
from distributed.diagnostics.plugin import WorkerPlugin  # noqa: TID253

from synthct.data.environment import SCHEDULER, TLS
from synthct.data.files import file_sha256
from synthct.flows.clusters.opening import open_cluster
from synthct.tasks.pipeline.dask_client import connect
from tests.chain.conftest import Checkout

KILLS_A_RUN = 2
"""A unit whose third worker dies is set aside (that has a test of its own): stay below."""

_GIVE_UP_S = 1200.0
"""Of one run, on a crowded machine."""


@dataclass
class Toll:
    """What the kills of one stage cost."""

    stage: str
    units: int
    kills: int = 0
    runs: int = 0
    started: int = 0
    seconds: float = 0.0
    calm_s: float = 0.0

    @property
    def again(self) -> int:
        """Units that were started more than once."""
        return self.started - self.runs * self.units


class Starts(WorkerPlugin):
    """Counts, in a file, how often a worker began a unit.

    What the scheduler assigns is more: of few units two wait on each worker, and a kill assigns
    both anew though only one had begun.
    """

    def __init__(self, file: str) -> None:
        self.file = file

    def transition(self, key, start, finish, **kwargs):
        if finish == "executing" and "synthct-" in str(key):  # keys of tasks/pipeline/dispatch.py
            with open(self.file, "a") as log:
                log.write(f"{key}\n")


def harass(checkout: Checkout, stage: str, kills: int, seed: int, workspace: str = ".") -> Toll:
    """Run the stage from nothing until so many workers died; each run must leave the same bytes.

    The process's working directory must be the checkout: workers inherit it.
    """
    out = out_of(checkout, stage, workspace)
    calm, keys = hashes(out), keys_of(out)
    toll, chance = Toll(stage, len(keys)), random.Random(f"{stage}{seed}")
    log = checkout.root.parent / f"{stage}.starts"
    variables = {"SYNTHCT_UNITS": str(checkout.units)}
    with open_cluster("local", workers=2, root=checkout.root, variables=variables) as cluster:
        with connect(cluster.scheduler) as client:
            client.wait_for_workers(2, timeout=60)
            client.register_plugin(Starts(str(log)))
        toll.calm_s = _run(checkout, (stage, workspace), keys, cluster, [], toll)
        log.unlink()
        while toll.kills < kills:
            wanted = min(KILLS_A_RUN, kills - toll.kills)
            moments = sorted(chance.uniform(0.0, toll.calm_s) for _ in range(wanted))
            toll.seconds += _run(checkout, (stage, workspace), keys, cluster, moments, toll, chance)
            toll.runs += 1
            assert hashes(out) == calm, f"{stage}: other bytes after {toll.kills} kills"
            toll.started = len(log.read_text().splitlines())
    return toll


def out_of(checkout: Checkout, stage: str, workspace: str = ".") -> Path:
    """Folder that a stage writes."""
    if workspace != ".":
        return checkout.root / workspace / "artefacts" / stage
    where = "data/raw/demo" if stage == "cohort" else f"data/artefacts/{stage}"
    return checkout.root / where


def hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of every file's own bytes."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): file_sha256(path) for path in files}


def keys_of(out: Path) -> set[str]:
    """Keys of all units of an out."""
    manifests = [json.loads(file.read_text()) for file in out.rglob("units.json")]
    return {entry["key"] for manifest in manifests for entry in manifest.values()}


def _run(checkout, what, keys, cluster, moments, toll, chance=None) -> float:
    """One run from nothing; kills fall at the moments, while the stage is on."""
    stage, workspace = what
    shutil.rmtree(out_of(checkout, stage, workspace))
    for key in keys:
        shutil.rmtree(checkout.units / key[:2] / key, ignore_errors=True)
        shutil.rmtree(checkout.root / ".synthct/scratch" / key, ignore_errors=True)
    began_s = time.monotonic()
    with (checkout.root.parent / f"{stage}.said").open("w+") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", "synthct.tasks", stage, "--workspace", workspace],
            cwd=checkout.root,
            env=checkout.environment
            | {SCHEDULER: cluster.scheduler, TLS: str(cluster.certificates)},
            stdout=said, stderr=subprocess.STDOUT,
        )  # fmt: skip
        killer = threading.Thread(
            target=_kill, args=(process, began_s, moments, toll, chance), daemon=True
        )
        killer.start()
        try:
            code = process.wait(_GIVE_UP_S)
        finally:
            process.kill()
            process.wait()
        killer.join()
        said.seek(0)
        assert code == 0, said.read()
    return time.monotonic() - began_s


def _kill(process, began_s: float, moments, toll: Toll, chance) -> None:
    for moment in moments:
        while time.monotonic() - began_s < moment and process.poll() is None:
            time.sleep(0.02)
        # Nannies live in this process: its own children are the workers, theirs are readers.
        workers = [
            each for each in psutil.Process().children() if "spawn_main" in " ".join(_words(each))
        ]
        if process.poll() is None and workers:
            with contextlib.suppress(psutil.NoSuchProcess):
                chance.choice(workers).kill()
                toll.kills += 1


def _words(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []
