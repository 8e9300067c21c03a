"""On a real Dask cluster: errors are values, a poison unit is named, the others finish once."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest

from synthct.data.environment import EVENTS
from synthct.data.errors import DataError, MachineError, UsageError
from synthct.data.layout import Layout
from synthct.data.store.result_cache import LocalResults
from synthct.flows.clusters.opening import open_cluster
from synthct.tasks.pipeline import events
from synthct.tasks.pipeline.dask_client import connect
from synthct.tasks.pipeline.fanout import OnDask, here
from synthct.tasks.pipeline.retry_policy import Pace, RetryPolicy
from synthct.tasks.pipeline.stage import StageContext, Unit, run_units


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


def fail_here_once(mark: str) -> str:
    """Out of memory on the worker that comes first; fine on every other."""
    from distributed import get_worker

    file = Path(mark)
    mine = get_worker().address
    if not file.exists():
        file.write_text(mine)
        raise MemoryError("no room")
    assert mine != file.read_text(), "tried again on the worker that had no room"
    return mine


def say(_: int) -> None:
    events.emit("note", stage="toy", text="from afar")


@pytest.fixture(scope="module")
def on_dask(request):
    root = request.config.rootpath
    with open_cluster("local", workers=2, root=root, variables={}) as cluster:
        yield OnDask(cluster.scheduler)


@pytest.mark.parametrize("where", ["here", "dask"])
def test_one_failing_item_sinks_the_others(where, on_dask):
    fan_out = here if where == "here" else on_dask
    outcomes = dict(fan_out(square, [1, 2, 3, 4], label=str))
    assert {n: o.value for n, o in outcomes.items() if not o.error} == {1: 1, 2: 4, 4: 16}
    with pytest.raises(ValueError, match="three is not allowed"):
        outcomes[3].result()


def test_events_of_a_worker_far_away_are_lost(on_dask, tmp_path, monkeypatch):
    """The workers were started without the event file: what they tell travels with Dask."""
    file = tmp_path / "events.jsonl"
    file.touch()
    monkeypatch.setenv(EVENTS, str(file))
    list(on_dask(say, [1, 2], label=str))
    deadline = time.monotonic() + 5
    while len(file.read_text().splitlines()) < 3 and time.monotonic() < deadline:
        time.sleep(0.05)
    told = [json.loads(line) for line in file.open()]
    assert [each.get("count") for each in told if each["kind"] == "workers"] == [2]
    assert [each["text"] for each in told if each["kind"] == "note"] == ["from afar"] * 2


def test_a_unit_that_kills_its_worker_is_named_and_the_others_run_once(
    on_dask, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    context = StageContext(Layout(), 1, LocalResults(tmp_path / "units"), on_dask)
    names = ["a", "b", "poison", "c", "d"]
    units = [Unit(name, log_or_die, arguments={"log": str(tmp_path / name)}) for name in names]
    monkeypatch.setenv(EVENTS, str(tmp_path / "events.jsonl"))
    with pytest.raises(
        MachineError, match=r"the worker died each time it computed this result"
    ) as caught:
        run_units(context, "toy", tmp_path / "out", units)
    assert caught.value.where == "toy/poison"
    told_events = [json.loads(line) for line in (tmp_path / "events.jsonl").open()]
    assert "poison" in [e["unit"] for e in told_events if e["kind"] == "set_aside"]
    assert [e["unit"] for e in told_events if e["kind"] == "unit_failed"] == ["poison"]
    for name in "abcd":
        assert (tmp_path / name).read_text() == "done\n"


def test_no_items_starts_nothing():
    assert list(OnDask("tcp://127.0.0.1:1")(square, [], label=str)) == []


def test_a_unit_without_memory_is_tried_again_where_it_failed(on_dask, tmp_path):
    quick = OnDask(on_dask.address, RetryPolicy(tries=2, first_wait_s=0.05))
    mark = str(tmp_path / "first")
    with connect(on_dask.address) as client:
        client.wait_for_workers(2, timeout=120)  # a test before this one killed some
    ((_, outcome),) = quick(fail_here_once, [mark], label=lambda _: "toy/a")
    assert outcome.result() != Path(mark).read_text()


@pytest.mark.parametrize("error", [ValueError("a bug"), KeyError("x"), DataError("unfit")])
def test_a_fault_that_no_other_machine_would_mend_is_tried_again(error):
    assert not RetryPolicy().again(error, 1)


@pytest.mark.parametrize("error", [OSError(5, "I/O"), MemoryError(), MachineError("disk")])
def test_a_fault_of_the_machine_is_given_up_at_once_or_tried_for_ever(error):
    patience = RetryPolicy(tries=3, first_wait_s=2.0, factor=4.0)
    assert [patience.again(error, tried) for tried in (1, 2, 3)] == [True, True, False]
    assert [patience.wait_s(tried) for tried in (1, 2)] == [2.0, 8.0]


def test_a_slow_unit_is_reported_never_or_twice():
    pace = Pace(min_s=10.0, factor=3.0)
    assert pace.stragglers({"a"}, 0.0) == []
    assert pace.stragglers({"a"}, 1e6) == [], "with nothing finished nothing is slow"
    for seconds in (4.0, 5.0, 6.0):
        pace.finished(seconds)
    assert pace.stragglers({"c"}, 2e6) == []
    assert pace.stragglers({"c"}, 2e6 + 14.0) == []
    assert pace.stragglers({"c", "d"}, 2e6 + 16.0) == [("c", 16.0)], "three medians are 15 s"
    assert pace.stragglers({"c", "d"}, 2e6 + 20.0) == [], "once is enough"


def test_a_missing_scheduler_hangs_the_stage(monkeypatch):
    monkeypatch.setattr("synthct.tasks.pipeline.dask_client._CONNECT", "0.2s")
    with pytest.raises(MachineError, match="no Dask scheduler answers"):
        list(OnDask("tcp://127.0.0.1:1")(square, [1], label=str))


def test_a_tls_scheduler_is_spoken_to_without_certificates(monkeypatch, tmp_path):
    monkeypatch.setenv("SYNTHCT_TLS", str(tmp_path))
    with pytest.raises(UsageError, match=r"no ca.pem"):
        list(OnDask("tls://127.0.0.1:1")(square, [1], label=str))
