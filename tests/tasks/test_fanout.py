"""On a real Dask cluster: errors are values, a poison unit is named, the others finish once."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from data.faults import MachineFault
from data.layout import Layout
from data.units import LocalUnits
from tasks.fanout import OnDask, here
from tasks.stage import StageContext, Unit, run_units


def square(number: int) -> int:
    if number == 3:
        raise ValueError("three is not allowed")
    return number * number


def log_or_die(*, out: Path, log: str) -> None:
    if out.is_dir() and Path(log).name == "poison":
        os.kill(os.getpid(), signal.SIGKILL)
    with Path(log).open("a") as file:
        file.write("done\n")
    (out / "result.txt").write_text("done")


@pytest.fixture(scope="module")
def on_dask():
    from distributed import LocalCluster

    with LocalCluster(
        n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address=None
    ) as cluster:
        yield OnDask(cluster.scheduler_address)


@pytest.mark.parametrize("where", ["here", "dask"])
def test_one_failing_item_sinks_the_others(where, on_dask):
    fan_out = here if where == "here" else on_dask
    outcomes = dict(fan_out(square, [1, 2, 3, 4], label=str))
    assert {n: o.value for n, o in outcomes.items() if not o.error} == {1: 1, 2: 4, 4: 16}
    with pytest.raises(ValueError, match="three is not allowed"):
        outcomes[3].result()


def test_a_unit_that_kills_its_worker_is_named_and_the_others_run_once(
    on_dask, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    context = StageContext(Layout(), 1, LocalUnits(tmp_path / "units"), on_dask)
    names = ["a", "b", "poison", "c", "d"]
    units = [Unit(name, log_or_die, arguments={"log": str(tmp_path / name)}) for name in names]
    with pytest.raises(MachineFault, match=r"1 of 5 units failed.*KilledWorker") as told:
        run_units(context, "toy", tmp_path / "out", units)
    assert told.value.where == "toy/poison"
    for name in "abcd":
        assert (tmp_path / name).read_text() == "done\n"


def test_no_items_starts_nothing():
    assert list(OnDask("tcp://127.0.0.1:1")(square, [], label=str)) == []
