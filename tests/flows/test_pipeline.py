import httpx
import psutil
import pytest

from synthct.data.errors import MachineError
from synthct.flows.run import journal
from synthct.flows.run.prefect_api import Api
from synthct.flows.workspace.freshness import stale_targets, to_build


def result(project, name):
    return (project.root / "out" / name / "result.txt").read_text()


def asked(server, path, **body):
    return Api(server).ask(f"/{path}/filter", **body)


def newest_run(server):
    return asked(server, "flow_runs", sort="START_TIME_DESC", limit=1)[0]


def test_stages_are_built_in_order_and_dvc_remembers_them(toy, run_stages, server):
    built, shown = run_stages(toy)
    assert [(each.name, each.how) for each in built] == [
        ("one", "ran"), ("two", "ran"), ("three", "ran"),
    ]  # fmt: skip
    assert result(toy, "three") == "scan one two three\n"
    assert to_build(toy) == ()
    assert "one: 2/2 b" in shown
    run = newest_run(server)
    assert run["state"]["type"] == "COMPLETED"
    assert run["parameters"] == {"workspace": "toy", "stages": ["one", "two", "three"]}
    tasks = asked(server, "task_runs", flow_runs={"id": {"any_": [run["id"]]}})
    assert {task["name"]: task["state"]["type"] for task in tasks} == dict.fromkeys(
        ("one", "two", "three"), "COMPLETED"
    )


def test_run_up_to_a_stage_touches_later_ones_or_shows_no_progress_and_words(
    toy, run_stages, server
):
    run_stages(toy.until("one"))
    assert stale_targets(toy) == {"two", "three"}
    assert not (toy.root / "out" / "two").exists()
    run = newest_run(server)
    artifacts = asked(server, "artifacts", artifacts={"flow_run_id": {"any_": [run["id"]]}})
    assert [(each["key"], each["type"], each["data"]) for each in artifacts] == [
        ("progress-one", "progress", 100.0)
    ]
    logs = asked(server, "logs", logs={"flow_run_id": {"any_": [run["id"]]}})
    assert any("one: 2/2 b (0.1 s)" in line["message"] for line in logs)
    assert any(line["message"].startswith("one: ran in ") for line in logs)


def test_nothing_is_started_when_all_is_current(built_toy, run_stages, monkeypatch):
    monkeypatch.setattr(
        "synthct.flows.run.running.prefect_server", lambda *_, **__: pytest.fail("started")
    )
    monkeypatch.setattr(
        "synthct.flows.run.running.open_cluster", lambda *_, **__: pytest.fail("started")
    )
    built, shown = run_stages(built_toy)
    assert (built, shown) == ([], "")


@pytest.mark.slow
def test_what_does_not_change_a_stage_does_not_rerun_it(built_toy, run_stages):
    (built_toy.root / "in.txt").write_text("scan ")  # the stage strips it: the same out bytes
    built, _ = run_stages(built_toy)
    assert [(each.name, each.how) for each in built] == [
        ("one", "ran"), ("two", "current"), ("three", "current"),
    ]  # fmt: skip


def test_out_that_dvc_has_in_its_cache_is_restored_not_made_again(built_toy, run_stages):
    (built_toy.root / "out" / "two" / "result.txt").unlink()
    (built_toy.root / "poison-two").touch()
    built, _ = run_stages(built_toy)
    assert [(each.name, each.how) for each in built] == [("two", "restored"), ("three", "current")]
    assert result(built_toy, "two") == "scan one two\n"


def test_poisoned_stage_fails_the_run_and_is_named_with_its_own_words(toy, run_stages, server):
    (toy.root / "poison-two").touch()
    with pytest.raises(MachineError) as caught:
        run_stages(toy)
    told = str(caught.value)
    assert "stage two failed: scan.mha: a volume has three axes, got 2; remove it" in told
    assert "two.log" in told
    assert [stage.name for stage in to_build(toy)] == ["two", "three"], "the next run goes on there"
    assert not (toy.root / "out" / "three").exists()
    assert newest_run(server)["state"]["type"] == "FAILED"


def test_run_cancelled_in_prefect_stops_the_stage_and_all_it_started(
    toy, start_flow, server, until, family
):
    (toy.root / "wait-one").touch()
    flow = start_flow(toy)
    until(lambda: (toy.root / "started").exists(), 90, "the stage")
    members = family(flow.pid)
    run = newest_run(server)
    state = {"type": "CANCELLING"}
    Api(server).ask(f"/flow_runs/{run['id']}/set_state", state=state, force=True)
    assert flow.wait(20) != 0
    assert "cancelled in Prefect" in flow.stdout.read()
    assert [each for each in members if each.is_running()] == []
    assert newest_run(server)["state"]["type"] == "CANCELLED"


FIVE_TIMES = [0, *(pytest.param(number, marks=pytest.mark.slow) for number in range(1, 5))]


@pytest.mark.parametrize("again", FIVE_TIMES)
def test_killed_flow_leaves_no_process_and_the_same_command_finishes(
    again, toy, start_flow, run_stages, until, family
):
    (toy.root / "wait-two").touch()
    flow = start_flow(toy, "local")
    until(lambda: (toy.root / "started").exists(), 90, "the stage")
    members = family(flow.pid)
    commands = [" ".join(each.cmdline()) for each in members]
    assert any("toy_stage.py two" in command for command in commands)
    assert any("multiprocessing" in command for command in commands)  # a Dask worker
    flow.kill()
    flow.wait()
    _, alive = psutil.wait_procs(members, timeout=5)
    assert alive == []
    (toy.root / "wait-two").unlink()
    built, _ = run_stages(toy)
    assert [(each.name, each.how) for each in built] == [("two", "ran"), ("three", "ran")]
    assert result(toy, "three") == "scan one two three\n"


def test_server_that_is_silent_for_a_while_does_not_stop_the_stage(toy, monkeypatch):
    class Silent:
        def info(self, *_): ...

    def no_answer(**_):
        raise httpx.ConnectError("refused")

    monkeypatch.setattr(journal, "get_run_logger", Silent)
    monkeypatch.setattr(journal, "update_progress_artifact", no_answer)
    monkeypatch.setattr(journal, "_ARTIFACT_EVERY_S", 0.0)
    listener = journal.Journal(None)
    listener._artifact = "known"
    listener.tick(toy.stages[0])
