"""The script of the first hour uses commands that exist, and shows what they print."""

from __future__ import annotations

import json
import shlex

import pytest
import typer

from docs.generator.sources import COMMANDS
from docs.make_first_hour import (
    FOREIGN,
    HEAD,
    MAX_COMMANDS,
    TAIL,
    Promise,
    Typed,
    commands,
    excerpt,
    page,
    promised,
    promises,
)
from tests.conftest import ROOT

TYPED = [text for _, text in commands(40, "CC0 1.0")]


def test_the_first_hour_takes_more_typing_than_promised():
    assert len(TYPED) == MAX_COMMANDS


@pytest.mark.parametrize("text", [text for text in TYPED if text.startswith("synthct ")])
def test_an_option_that_is_typed_does_not_exist(text):
    _, name, *words = shlex.split(text)
    command = typer.main.get_command(COMMANDS).commands[name]
    known = {option for each in command.params for option in (*each.opts, *each.secondary_opts)}
    assert {word for word in words if word.startswith("--")} <= known
    given = sum(not word.startswith("--") for word in words)
    flags = {o for each in command.params for o in each.opts if getattr(each, "is_flag", False)}
    options = [word for word in words if word.startswith("--") and word not in flags]
    arguments = [each for each in command.params if each.param_type_name == "argument"]
    assert given - sum(word != "--no-open" for word in options) <= len(arguments)


def test_a_target_of_make_that_is_typed_does_not_exist():
    for text in (text for text in TYPED if text.startswith("make ")):
        assert f"\n{text.split()[1]}:" in (ROOT / "Makefile").read_text()


def test_a_long_output_hides_its_end():
    lines = [f"line {number}" for number in range(100)]
    shown = excerpt("\n".join(["10 %\r100 %", *lines]))
    assert shown[0] == "100 %"
    assert shown[HEAD] == "..."
    assert shown[-TAIL:] == lines[-TAIL:]


def test_a_page_names_the_machine_that_wrote_it(tmp_path):
    typed = [
        Typed("Get it.", "git clone /srv/mine x", 0, 1.0, f"Cloning into '{tmp_path}/x'"),
        Typed("A mistake: a name.", "synthct run --preset mien", 2, 60.0, f"{tmp_path}/a: no"),
    ]
    told = page(typed, "", tmp_path, "/srv/mine")
    assert "**2 commands, 1 min 01 s.**" in told
    assert "$ git clone REPOSITORY x\nCloning into '~/x'" in told
    assert "~/a: no" in told
    assert told.count("exit code 2") == 1
    assert FOREIGN.findall(told) == []
    for path in (
        "/usr/lib/x",
        "see /opt/wheels",
        "file:///opt/pypi",
        "https://index.example/simple",
    ):
        assert FOREIGN.findall(path)


def test_the_time_left_is_compared_with_another_time(tmp_path):
    (tmp_path / "run").mkdir()
    lines = [
        {"kind": "units_planned", "total": 8, "reused": 0, "stage": "training", "time_s": 90.0}
    ]
    lines += [
        {"kind": "unit_done", "stage": "training", "time_s": 100.0 + 10 * n, "seconds": 10.0}
        for n in range(8)
    ]
    lines += [{"kind": "unit_done", "stage": "export", "time_s": 300.0, "seconds": 1.0}]
    (tmp_path / "run" / "events.jsonl").write_text("".join(json.dumps(n) + "\n" for n in lines))
    (one,) = promises(tmp_path)
    assert one == Promise("training", 8, 2, 60.0, 60.0)
    assert "| training | 2 of 8 | 60 | 60 |" in promised([one])
