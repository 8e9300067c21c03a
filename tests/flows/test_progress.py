import io
import json

import pytest
from rich.console import Console

from synthct.data.environment import EVENTS
from synthct.flows.run.progress import EventTail, StageProgress, event_line
from synthct.flows.run.screen import Lines
from synthct.flows.run.stages import error_line, how_built
from synthct.flows.workspace.project import StageTarget
from synthct.tasks.pipeline.terminal import spelled


def test_line_that_is_still_being_written_waits(tmp_path):
    path = tmp_path / "events.jsonl"
    tail = EventTail(path)
    assert list(tail.new()) == []
    path.write_bytes(b'{"kind": "note"}\n{"kind": "un')
    assert [event["kind"] for event in tail.new()] == ["note"]
    assert list(tail.new()) == []
    with path.open("ab") as file:
        file.write(b'it_done"}\nnot json\n{"kind": "step"}\n')
    assert [event["kind"] for event in tail.new()] == ["unit_done", "step"]


def test_reused_units_do_not_make_the_time_left_look_short(monkeypatch):
    now = [100.0]
    monkeypatch.setattr("synthct.tasks.pipeline.progress.time.time", lambda: now[0])
    progress = StageProgress()
    progress.take({"kind": "units_planned", "total": 10, "reused": 6})
    assert (progress.done, progress.percent, progress.left_s) == (6, 60.0, None)
    now[0] = 130.0
    progress.take({"kind": "unit_done", "unit": "a", "done": 7, "excluded": True})
    assert progress.left_s == pytest.approx(90.0)  # 30 s for one unit, three are left
    assert progress.excluded == 1


def test_long_unit_counts_by_its_steps(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("synthct.tasks.pipeline.progress.time.time", lambda: now[0] + 1)
    progress = StageProgress()
    progress.take({"kind": "units_planned", "total": 2, "reused": 0})
    now[0] = 10.0
    step = {"kind": "step", "unit": "mr_fold0", "step": 100, "total": 400, "mae_hu": 61.25}
    progress.take(step | {"terms": {"l1": 0.1}, "best": None})
    assert progress.percent == 12.5
    assert progress.left_s == pytest.approx(70.0)
    assert progress.text == "mr_fold0 step 100/400 mae_hu 61.25"
    progress.take({"kind": "unit_done", "unit": "mr_fold0", "done": 1})
    assert progress.percent == 50.0


def test_event_of_a_stranger_does_not_stop_the_run():
    assert event_line({"kind": "unit_done", "stage": "x"}) == ""
    assert event_line({"kind": "note", "stage": "x", "text": "hello"}) == "x: hello"


@pytest.mark.parametrize(
    ("said", "how"),
    [
        ("Running stage 'one':\n> python", "ran"),
        ("Stage 'one' is cached - skipping run, checking out outputs", "restored"),
        ("Stage 'one' didn't change, skipping\nData and pipelines are up to date.", "current"),
    ],
)
def test_what_dvc_did_is_not_taken_for_work(said, how):
    assert how_built(said.splitlines()) == how


def test_stage_is_quoted_rather_than_dvc():
    lines = [
        "Running stage 'one':", "> python -m synthct.tasks one", "excluded HN-01: too short",
        "a.mha: a volume has three axes, got 2", "",
        "ERROR: failed to reproduce 'one': failed to run: python, exited with 1",
    ]  # fmt: skip
    assert error_line(lines) == "a.mha: a volume has three axes, got 2"


def test_dvc_is_quoted_when_the_stage_is_not_to_blame():
    absent = ["ERROR: failed to reproduce 'one': missing data 'source': in.txt"]
    assert error_line(absent) == "missing data 'source': in.txt"
    tracked = [
        "Running stage 'one':", "> python -m synthct.tasks one",
        "ERROR: failed to reproduce 'one':  output 'out' is already tracked by SCM (e.g. Git).",
        "    You can remove it from Git, then add to DVC.",
    ]  # fmt: skip
    assert error_line(tracked) == "output 'out' is already tracked by SCM (e.g. Git)."
    assert error_line(["ERROR: unexpected error - boom"]) == "ERROR: unexpected error - boom"


def test_stage_that_was_killed_has_the_last_line_there_is():
    assert error_line([]) == "no output"
    assert error_line(["Running stage 'one':", "> python"]) == "> python"


def test_events_are_json_lines_as_the_tasks_write_them(tmp_path, monkeypatch):
    from synthct.tasks.pipeline import events

    path = tmp_path / "events.jsonl"
    monkeypatch.setenv(EVENTS, str(path))
    events.emit("note", stage="x", text="hello")
    (event,) = EventTail(path).new()
    assert event_line(event) == "x: hello"
    assert json.loads(path.read_text()) == event


def test_a_stage_that_computes_for_minutes_is_not_silent(tmp_path, monkeypatch):
    now = [100.0]
    for clock in ("monotonic", "time"):
        monkeypatch.setattr(f"synthct.tasks.pipeline.progress.time.{clock}", lambda: now[0])
    file = io.StringIO()
    training = StageTarget("training", "training", tmp_path)
    with Lines(Console(file=file, width=200)) as lines:
        lines.started(training)
        lines.event(
            training, {"kind": "units_planned", "stage": "training", "total": 2, "reused": 0}
        )
        for second in range(1, 61):
            now[0] = 100.0 + second
            step = {"kind": "step", "unit": "mr_fold0", "step": second, "total": 120, "l1": 0.25}
            lines.event(training, step)
            lines.tick(training)
    told = [line for line in file.getvalue().splitlines() if "step" in line]
    assert len(told) == 6
    assert told[0] == (
        "training: 0 of 2 units done, mr_fold0 step 10/120 l1 0.25, 10 s so far, "
        "about 3 min 50 s left"
    )


def test_a_finished_picture_without_an_estimate_is_a_line_and_no_error():
    event = {"kind": "unit_done", "stage": "report", "unit": "HN-01_mr", "done": 1, "total": 2}
    assert spelled(event) == "report: 1/2 HN-01_mr"
    assert spelled(event | {"seconds": 2.0}, 4.0) == "report: 1/2 HN-01_mr (2.0 s), about 4 s left"
    assert spelled(event | {"done": 2}, 0.0) == "report: 2/2 HN-01_mr"
