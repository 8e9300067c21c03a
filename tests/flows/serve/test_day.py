"""A day of schedules in a quarter of an hour: an "hour" is half a minute, and things die in it."""

from __future__ import annotations

import collections
import datetime
import shutil
import time

import psutil
import pytest
import yaml

from tests.flows.serve.conftest import PREFECT, make_site, served, write_toy_release

HOUR_S = 30
"""Seconds, in the place of an hour."""

HOURS = 24
SECONDS = {"nightly": "0,30", "watcher": "15,45"}
"""When the two hourly jobs are due. The weekly study has one date."""

ENDS = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
WORK = {"nightly": "run", "weekly-study": "study"}
"""What the toy chain notes down; the watcher is the real one, with an empty inbox."""


def instant(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def due(site, start_s, end_s):
    """Runs that the clock started, by deployment, whose time lies in the day."""
    names = {each["id"]: each["name"] for each in site.ask("/deployments/filter")}
    found, offset = collections.defaultdict(list), 0
    while page := site.ask(
        "/flow_runs/filter", sort="EXPECTED_START_TIME_ASC", limit=200, offset=offset,
    ):  # fmt: skip
        offset += len(page)
        for run in page:
            if run["auto_scheduled"] and start_s <= instant(run["expected_start_time"]) < end_s:
                found[names[run["deployment_id"]]].append(run)
    return found


def server_of(site):
    """Process of the Prefect server."""
    return next(
        each
        for each in psutil.Process(site.process.pid).children(recursive=True)
        if each.cmdline()[-2:-1] and each.cmdline()[-2].endswith("prefect_process.py")
        and "keeper.py" not in " ".join(each.cmdline())
    )  # fmt: skip


def sleep_until(moment_s):
    time.sleep(max(0.0, moment_s - time.time()))


def held(site, run):
    """(from, to): when a run held the only place of its deployment; None if it never did."""
    states = site.ask(f"/flow_run_states/?flow_run_id={run['id']}", method="GET")
    taken = [instant(each["timestamp"]) for each in states if each["type"] == "PENDING"]
    ended = [instant(each["timestamp"]) for each in states if each["type"] in ENDS]
    return (min(taken), max(ended)) if taken and ended else None


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_of_a_day_of_schedules_one_is_lost_or_runs_twice(tmp_path, empty_database, until):
    """The Prefect server is killed in the eighth hour, everything in the sixteenth.

    Hours that pass while nothing runs may be lost: nobody can start them.
    """
    document = yaml.safe_load(PREFECT)
    for entry in document["deployments"]:
        if entry["name"] in SECONDS:
            cron = f"* * * * * {SECONDS[entry['name']]}"
            entry["schedules"] = [{"cron": cron, "timezone": "UTC", "active": True}]
    root = make_site(tmp_path / "site")
    (root / "incoming").mkdir()
    write_toy_release(root / "release")
    (root / ".synthct" / "prefect").mkdir(parents=True)
    shutil.copy(empty_database, root / ".synthct" / "prefect" / "prefect.db")
    study = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=HOURS * HOUR_S)
    once = {"cron": f"{study.minute} {study.hour} * * *", "timezone": "UTC", "active": True}
    document["deployments"][1]["schedules"] = [once]
    (root / "prefect.yaml").write_text(yaml.safe_dump(document, sort_keys=False))
    with served(root) as site:
        start_s = (time.time() // HOUR_S + 2) * HOUR_S
        end_s = max(start_s + HOURS * HOUR_S, study.timestamp() + 1)
        sleep_until(start_s + 8 * HOUR_S + 3)
        server_of(site).kill()
        sleep_until(start_s + 16 * HOUR_S + 3)
        site.process.kill()
        off_s = time.time()
    sleep_until(start_s + 18 * HOUR_S + 3)  # two hours later the machine is back
    with served(root) as site:
        on_s = time.time() + HOUR_S  # the server plans what comes; its first look takes a while
        sleep_until(end_s)
        until(
            lambda: all(
                run["state_type"] in ENDS
                for runs in due(site, start_s, end_s).values() for run in runs
            ),
            900, "the end of all runs of the day", every_s=5.0,
        )  # fmt: skip
        day = due(site, start_s, end_s)
        places = {n: [held(site, run) for run in runs] for n, runs in day.items()}
    worked = collections.Counter((root / "marks" / "worked").read_text().split())
    for name, seconds in SECONDS.items():
        at = [instant(run["expected_start_time"]) for run in day[name]]
        first = start_s + int(seconds.split(",")[0])
        wanted = list(range(int(first), int(end_s), HOUR_S))
        assert len(set(at)) == len(at), f"{name}: an hour came twice"
        assert set(at) <= set(wanted)
        lost = [hour for hour in wanted if hour not in at and not off_s <= hour <= on_s]
        assert not lost, f"{name}: an hour was lost while the service was there"
        done = [run for run in day[name] if run["state_type"] == "COMPLETED"]
        for hour in (0, 8, 18):  # the start, the server's death, the return of everything
            assert any(instant(run["end_time"]) > start_s + hour * HOUR_S for run in done)
        for run in day[name]:
            told = run["state"]["message"]
            assert run["state_type"] != "FAILED", told
            if run["state_type"] == "CANCELLED":
                at = instant(run["state"]["timestamp"])
                assert any(a - 1 <= at <= b + 1 for a, b in filter(None, places[name])), told
    (study_run,) = day["weekly-study"]
    assert study_run["state_type"] == "COMPLETED"
    for name, word in WORK.items():
        runs = [run for run in day[name] if run["state_type"] in ("COMPLETED", "CRASHED")]
        done = [run for run in runs if run["state_type"] == "COMPLETED"]
        assert len(done) <= worked[word] <= len(runs) + _after(end_s, name), (name, worked)
    states = {
        n: dict(collections.Counter(run["state_type"] for run in runs)) for n, runs in day.items()
    }
    print(f"runs of the day by state: {states}; of these began work: {dict(worked)}")


def _after(end_s, name):
    """Runs that were due while the test waited for the last of the day."""
    return int((time.time() - end_s) // HOUR_S) + 2 if name in SECONDS else 0
