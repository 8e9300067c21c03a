"""Command lines of scheduled runs, and what the shipped schedules ask for."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer
import yaml

from synthct.data.errors import UsageError
from synthct.flows.cli.app import commands
from synthct.flows.jobs import scheduled_jobs
from synthct.flows.jobs.scheduled_jobs import ScheduledJob
from synthct.flows.serve.notify import Notifier
from synthct.flows.serve.runs import Run

ROOT = Path(__file__).resolve().parents[2]


def test_an_option_of_a_watcher_is_lost_or_misspelt():
    told = {"model": "r", "inbox": "s3://b/in", "out": "o"}
    flags = {"keep_names": True, "tta": False, "max_ram": 4.0, "threads": None}
    assert ScheduledJob("watch", options=told | flags).arguments() == [
        "watch", "--once", "--model", "r", "--inbox", "s3://b/in", "--out", "o",
        "--keep-names", "--no-tta", "--max-ram", "4.0",
    ]  # fmt: skip


@pytest.mark.parametrize("what", ["run", "study"])
def test_a_served_site_cannot_say_where_its_runs_work(what):
    assert ScheduledJob(what, options={"cluster": None, "workers": None}).arguments() == [what]
    command = typer.main.get_command(commands).commands[what]
    (cluster,) = [each for each in command.params if each.name == "cluster"]
    assert cluster.envvar == "SYNTHCT_CLUSTER"
    assert cluster.default == "local"


@pytest.mark.parametrize("what", ["run", "study", "watch"])
@pytest.mark.parametrize("value", [True, False])
def test_a_switch_that_was_set_becomes_an_option_that_the_command_refuses(what, value):
    command = typer.main.get_command(commands).commands[what]
    flags = [each for each in command.params if getattr(each, "is_flag", False)]
    assert flags
    known = {word for each in flags for word in (*each.opts, *each.secondary_opts)}
    needed = {"model": "r", "inbox": "i", "out": "o"} if what == "watch" else {}
    for each in flags:
        words = ScheduledJob(what, options={**needed, each.opts[0].strip("-"): value}).arguments()[
            1:
        ]
        given = [word for word in words if word not in ("--model", "--inbox", "--out", *"rio")]
        assert set(given) <= known | {"--once"}, each.name
        if not value:
            assert given.count(each.opts[0]) == (each.opts[0] == "--once")


@pytest.mark.parametrize("what", ["run", "study", "watch"])
def test_a_new_no_option_of_a_command_cannot_be_set_by_a_schedule(what):
    command = typer.main.get_command(commands).commands[what]
    assert scheduled_jobs._NEGATABLE[what] == {
        word for each in command.params for word in each.secondary_opts
    }


@pytest.mark.parametrize(
    ("given", "rule"),
    [
        ({"what": "predict"}, "one of run, study, watch"),
        ({"what": "watch", "options": {"model": "r"}}, "missing: inbox, out"),
    ],
)
def test_a_wrong_scheduled_job_is_found_out_after_an_hour(given, rule):
    with pytest.raises(UsageError, match=rule):
        ScheduledJob(**given)


def test_a_shipped_schedule_asks_for_what_is_not_there():
    shipped = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
    asked = {each["name"]: each["parameters"] for each in shipped}
    assert set(asked) == {"nightly", "weekly-study", "watcher"}
    for each in shipped:
        assert each["concurrency_limit"] == {"limit": 1, "collision_strategy": "CANCEL_NEW"}
        given = {name: each["parameters"].get(name) for name in ("what", "preset")}
        job = ScheduledJob(**given, options=each["parameters"].get("options") or {})
        if job.what == "study":
            assert (ROOT / job.arguments()[2]).is_file()


def test_every_idle_look_into_the_inbox_is_reported_to_the_chat():
    idle = Run("1", "a", "watch in", "watch", "COMPLETED", "", 1.0, 2.0, 1.0, True)
    notifier = Notifier("http://127.0.0.1:9/hook", since_s=0.0)
    for _ in range(9):
        assert list(notifier.post_ended([idle])) == []
    aside = Run(
        "2", "b", "watch in", "watch", "COMPLETED", "scans were quarantined: o", 1, 2, 1, True
    )
    told = [line for _ in range(9) for line in notifier.post_ended([aside])]
    assert told == ["the webhook did not accept b: ConnectError"]
