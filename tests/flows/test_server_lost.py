"""A run by hand goes on when its Prefect server does not, and ends by what its stages did."""

from __future__ import annotations

import io

import httpx
import pytest
from rich.console import Console

from synthct.data.environment import EVENTS
from synthct.data.errors import MachineError
from synthct.flows.run import journal, pipeline
from synthct.flows.run.running import new_record
from synthct.flows.run.stages import Listener


class Screen(Listener):
    """Hears what is said."""

    def __init__(self):
        self.lines = []

    def started(self, stage): ...
    def event(self, stage, event): ...
    def tick(self, stage): ...
    def finished(self, stage, built): ...
    def output(self, stage, line):
        self.lines.append(line)


@pytest.fixture
def lost(monkeypatch):
    """A server that goes away before the flow begins, or when it reports its end."""

    def lose(moment):
        real = pipeline.flow

        def flow(*arguments, **options):
            def decorated(function):
                def run(*given, **more):
                    if moment == "after":
                        real(*arguments, **options)(function)(*given, **more)
                    raise httpx.ConnectError("refused")

                return run

            return decorated

        monkeypatch.setattr(pipeline, "flow", flow)

    return lose


def run_stages(toy, server, screen):
    record = new_record(toy.root)
    variables = toy.environment() | {str(EVENTS): str(record.events)}
    return pipeline.run_stages(toy, record, variables, screen, server=server)


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_run_whose_stages_were_done_ends_as_lost(moment, toy, server, lost):
    lost(moment)
    screen = Screen()
    built = run_stages(toy, server, screen)
    assert [each.name for each in built] == ["one", "two", "three"]
    assert (toy.root / "out/three/result.txt").read_text() == "scan one two three\n"
    assert any("continues without it" in line for line in screen.lines) == (moment == "before")


def test_a_stage_that_failed_is_reported_as_a_lost_server(toy, server, monkeypatch):
    (toy.root / "in.txt").unlink()
    real = pipeline.flow

    def flow(*arguments, **options):
        def decorated(function):
            def run(*given, **more):
                try:
                    real(*arguments, **options)(function)(*given, **more)
                except Exception as error:
                    raise httpx.ConnectError("refused") from error

            return run

        return decorated

    monkeypatch.setattr(pipeline, "flow", flow)
    with pytest.raises(MachineError) as caught:
        run_stages(toy, server, Screen())
    assert caught.value.code == "stage-failed"


def test_a_lost_server_holds_up_every_line_of_a_stage(monkeypatch, toy):
    """Each call waits a minute for a server that is gone: after one, none for a while."""
    asked = []

    def lose(**_):
        asked.append(1)
        raise httpx.ConnectError("refused")

    monkeypatch.setattr(journal, "create_progress_artifact", lose)
    monkeypatch.setattr(journal, "get_run_logger", lambda: Console(file=io.StringIO()))
    told = journal.Journal(None)
    monkeypatch.setattr(told, "_tick", lose)
    told.started(toy.stages[0])
    for _ in range(100):
        told.tick(toy.stages[0])
    assert len(asked) == 1
