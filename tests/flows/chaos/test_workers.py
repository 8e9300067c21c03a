"""Workers, schedulers and units die at random: the same bytes, nothing done twice without need."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

import psutil
import pytest

from synthct.data.errors import MachineError
from synthct.data.layout import Layout
from synthct.data.store.result_cache import LocalResults
from synthct.flows.clusters.opening import open_cluster
from synthct.tasks.pipeline.fanout import OnDask
from synthct.tasks.pipeline.stage import StageContext, Unit, run_units
from tests.flows.chaos.conftest import COUNT, outs, started
from tests.flows.chaos.naps import stage

ROOT = Path(__file__).resolve().parents[3]


class Killer(threading.Thread):
    """Kills a worker of this process's cluster at random moments, so many times."""

    def __init__(self, times: int, seed: int, pause_s: tuple[float, float] = (0.3, 1.2)) -> None:
        super().__init__(daemon=True)
        self.pause_s = pause_s
        self.left, self.done, self.random = times, 0, random.Random(seed)
        self.stop = threading.Event()

    def run(self) -> None:
        while self.left and not self.stop.wait(self.random.uniform(*self.pause_s)):
            with contextlib.suppress(psutil.NoSuchProcess):
                workers = [
                    process
                    for process in psutil.Process().children(recursive=True)
                    if "spawn_main" in " ".join(process.cmdline())
                ]
                if workers:
                    self.random.choice(workers).kill()
                    self.left -= 1
                    self.done += 1


def pid_of(_):
    return os.getpid()


@pytest.mark.parametrize("kills", [4, pytest.param(20, marks=pytest.mark.slow)])
def test_killed_workers_change_bytes_or_make_units_run_for_nothing(
    kills, tmp_path, undisturbed, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    variables = {"PYTHONPATH": str(ROOT / "src")}
    with open_cluster("local", workers=2, root=ROOT, variables=variables) as cluster:
        list(OnDask(cluster.scheduler)(pid_of, [1, 2], label=str))  # both are up
        killer = Killer(kills, seed=kills)
        rounds = 0
        killer.start()
        while killer.left or not rounds:  # short units: as many stages as the kills last
            root = tmp_path / f"round{rounds}"
            root.mkdir()
            good = stage(root, OnDask(cluster.scheduler), COUNT)
            assert len(good) == COUNT
            assert outs(root) == undisturbed
            rounds += 1
        killer.stop.set()
        killer.join()
    runs = sum(len(started(tmp_path / f"round{number}")) for number in range(rounds))
    assert killer.done == kills
    assert runs - rounds * COUNT <= kills + 1, "more units ran again than workers were lost"


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["local", "gpu"])
def test_workers_that_are_killed_while_they_start_leave_a_cluster_without_any(
    kind, until, monkeypatch
):
    """As on a machine whose memory is full for a while: none gets as far as the scheduler."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")  # pretended, as in clusters/test_gpu.py
    with open_cluster(kind, workers=2, root=ROOT, variables={}) as cluster:
        list(OnDask(cluster.scheduler)(pid_of, [1, 2], label=str))
        killer = Killer(10_000, seed=1, pause_s=(0.02, 0.05))
        killer.start()
        time.sleep(30)  # longer than a lost worker is waited for: new nannies start, and fail
        killer.stop.set()
        killer.join()
        assert killer.done > 4
        until(lambda: len(cluster.workers()) == 2, 120, "workers that are back", every_s=0.5)
        found = {out.result() for _, out in OnDask(cluster.scheduler)(pid_of, [1, 2], label=str)}
    assert found


def die(*, out: Path, name: str, log: str) -> None:
    if name == "poison":
        os.kill(os.getpid(), signal.SIGKILL)
    with open(log, "a") as file:
        file.write(f"{name}\n")
    (out / "a.txt").write_text(name)


@pytest.mark.slow
@pytest.mark.parametrize("time_number", range(5))
def test_a_poison_unit_sinks_the_others_or_the_minute(time_number, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    log = str(tmp_path / "started.log")
    names = [*(f"u{number}" for number in range(12)), "poison"]
    random.Random(time_number).shuffle(names)
    units = [Unit(name, die, arguments={"name": name, "log": log}) for name in names]
    began_s = time.monotonic()
    with open_cluster("local", workers=2, root=ROOT, variables={}) as cluster:
        (tmp_path / "units").mkdir()
        where = OnDask(cluster.scheduler)
        list(where(pid_of, [1, 2], label=str))
        start_s = time.monotonic() - began_s
        context = StageContext(Layout(), 1, LocalResults(tmp_path / "units"), where)
        began_s = time.monotonic()
        with pytest.raises(MachineError, match="toy/poison") as caught:
            run_units(context, "toy", tmp_path / "out", units)
        # Three workers die and are started again, then one that runs the unit alone; a start takes
        # six seconds, and longer where the machine is busy.
        assert time.monotonic() - began_s < max(60, 10 * start_s)
        assert caught.value.code == "poison-unit"
    assert sorted(started(tmp_path)) == sorted(name for name in names if name != "poison")


@contextlib.contextmanager
def dask(port: int):
    """A scheduler and two workers, as a person starts them."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
    address = f"tcp://127.0.0.1:{port}"
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "env": environment}
    base = [sys.executable, "-m", "distributed.cli.dask_scheduler"]
    scheduler = subprocess.Popen(
        [*base, "--host", "127.0.0.1", "--port", str(port), "--no-dashboard"], **quiet
    )
    workers = subprocess.Popen(
        [sys.executable, "-m", "distributed.cli.dask_worker", address, "--nthreads", "1",
         "--nworkers", "2", "--host", "127.0.0.1", "--no-dashboard", "--death-timeout", "60"],
        **quiet,
    )  # fmt: skip
    try:
        yield address, scheduler
    finally:
        family = []
        with contextlib.suppress(psutil.NoSuchProcess):
            family = psutil.Process(workers.pid).children(recursive=True)
        for process in (*family, workers, scheduler):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        workers.wait()
        scheduler.wait()


def one_more(process, store, before):
    """Whether a unit was finished since, or the stage has ended."""
    return process.poll() is not None or len(list(store.keys())) > before


@pytest.mark.slow
def test_a_killed_scheduler_hangs_the_stage_or_costs_a_finished_unit(tmp_path, undisturbed, until):
    """Ten times in a row: a typed error, and the same command goes on where it stopped."""
    environment = {
        **os.environ,
        "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}",
        "SYNTHCT_UNITS": str(tmp_path / "units"),
    }
    script = "import sys; from tests.flows.chaos.naps import main; main(*sys.argv[1:])"
    command = [sys.executable, "-c", script, str(tmp_path), str(COUNT)]
    store = LocalResults(tmp_path / "units")
    for number in range(10):
        with dask(39200 + number) as (address, scheduler):
            before = len(list(store.keys()))
            process = subprocess.Popen(
                command, cwd=tmp_path, env=environment | {"SYNTHCT_SCHEDULER": address},
                stdout=subprocess.PIPE, text=True,
            )  # fmt: skip
            finished = partial(one_more, process, store, before)
            until(finished, 60, "a finished unit")
            scheduler.kill()
            told = process.communicate(timeout=60)[0]
            assert process.returncode in (0, 1)
            assert process.returncode == 0 or told.startswith("scheduler-not-up: "), told
    with dask(39299) as (address, _):
        subprocess.run(command, env=environment | {"SYNTHCT_SCHEDULER": address}, check=True)
    assert outs(tmp_path) == undisturbed
    assert len(started(tmp_path)) <= COUNT + 10 * 3, (
        "two in flight and one just finished, each time"
    )


class Sleeper(threading.Thread):
    """One worker of this process's cluster gets a tenth of its time, as on a swapping machine."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.stop = threading.Event()
        self.victim = next(
            process
            for process in psutil.Process().children(recursive=True)
            if "spawn_main" in " ".join(process.cmdline())
        )

    def run(self) -> None:
        while not self.stop.is_set():
            self.victim.suspend()
            self.stop.wait(0.45)
            self.victim.resume()
            self.stop.wait(0.05)


def located(*, out: Path, log: str) -> None:
    """A unit that says which process ran it."""
    handle = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(handle, f"{os.getpid()}\n".encode())
    os.close(handle)
    time.sleep(0.1)
    (out / "x").write_text("x")


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_one_slow_worker_of_four_holds_up_a_thousand_units_or_loses_one(tmp_path, monkeypatch):
    """Each unit runs once, and the slow worker is left far fewer than its quarter."""
    count, log = 1000, str(tmp_path / "pids")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SYNTHCT_EVENTS", str(tmp_path / "events"))
    units = [Unit(f"u{n:04d}", located, arguments={"log": log}) for n in range(count)]
    with open_cluster("local", workers=4, root=ROOT, variables={"PYTHONPATH": str(ROOT)}) as four:
        list(OnDask(four.scheduler)(pid_of, range(4), label=str))
        sleeper = Sleeper()
        sleeper.start()
        context = StageContext(Layout(), 1, LocalResults(tmp_path / "u"), OnDask(four.scheduler))
        good = run_units(context, "toy", tmp_path / "out", units)
        sleeper.stop.set()
        sleeper.join()
    pids = Path(log).read_text().split()
    assert len(good) == len(pids) == count, "a unit was lost or ran twice"
    assert len(set(pids)) == 4
    assert pids.count(str(sleeper.victim.pid)) < count / 8
