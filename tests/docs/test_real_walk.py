"""The script of the real walk uses commands that exist, and its page names no machine."""

from __future__ import annotations

import shlex

import pytest
import typer

from docs import make_real_walk
from docs.generator.sources import COMMANDS
from docs.make_first_hour import FOREIGN, Typed
from docs.make_real_walk import PICTURES, commands, section

TYPED = [text for _, _, text in commands("/srv/scans", 40)]


@pytest.mark.parametrize("text", [text for text in TYPED if text.startswith("synthct ")])
def test_an_option_that_is_typed_does_not_exist(text):
    _, name, *words = shlex.split(text)
    command = typer.main.get_command(COMMANDS).commands[name]
    known = {option for each in command.params for option in (*each.opts, *each.secondary_opts)}
    assert {word for word in words if word.startswith("--")} <= known


def test_the_line_that_is_added_to_the_preset_is_refused():
    from synthct.tasks.chain.params import parse_params

    (line,) = [shlex.split(text)[1] for text in TYPED if text.startswith("echo ")]
    params = parse_params(f"dataset: real\n{line}\n", where="the page")
    assert params.export.gate.when_refused == "demonstration"


def test_a_page_names_the_machine_that_wrote_it():
    typed = Typed("Why.", "synthct init real --from /srv/scans/sts51", 3, 61.0, "/srv/scans/a: no")
    told = section(1, "Look", "Why.", typed, "/srv/scans")
    assert FOREIGN.findall(told) == []
    assert "*1 min 01 s, exit code 3*" in told


def test_commands_that_ended_well_are_typed_again_and_failed_ones_never(tmp_path, monkeypatch):
    monkeypatch.setattr(make_real_walk, "RECORD", tmp_path / "walk.json")
    monkeypatch.setattr(make_real_walk, "ROOT", tmp_path)
    lines = [("a", "w", "echo x >> seen"), ("b", "w", "test -e ready"), ("c", "w", "echo end")]
    monkeypatch.setattr(make_real_walk, "commands", lambda *_: iter(lines))
    codes = [[typed.code for _, _, typed in make_real_walk.type_all("", None)]]
    (tmp_path / "ready").touch()
    codes.append([typed.code for _, _, typed in make_real_walk.type_all("", None)])
    assert codes == [[0, 1], [0, 0, 0]]
    assert (tmp_path / "seen").read_text() == "x\n"


def test_the_pictures_of_the_tutorial_go_elsewhere_than_it_says():
    assert PICTURES == "../pictures/real"
    assert "docs/pictures/real" in make_real_walk.__doc__
