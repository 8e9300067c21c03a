"""The generated reference leaves nothing out, and what it says is what the code does."""

from __future__ import annotations

import os
import re
import subprocess

import pytest

from docs.generator import command_line, params, plugins
from docs.generator.docstrings import markdown, prose
from docs.generator.params import Key, groups
from docs.generator.sources import COMMANDS, REGISTRIES
from synthct.data.environment import table
from tests.conftest import ROOT

KEYS = {key.path: key for group in groups() for key in group.keys}


@pytest.mark.parametrize("path", KEYS)
def test_a_param_has_no_meaning(path):
    """Write a string below the field of the section; a section may explain itself."""
    assert len(KEYS[path].meaning.split()) >= 2 or KEYS[path].meaning.endswith(".")
    assert KEYS[path].type
    assert KEYS[path].default


def test_a_param_is_described_otherwise_than_it_is():
    assert KEYS["registration.margin_mm"] == Key(
        "registration.margin_mm", "number ≥ 0", "mm", "`15.0`",
        "Margin around the body when the working grid is cropped.",
    )  # fmt: skip
    assert KEYS["export.opset"].type == "integer ≥ 18 ≤ 23"
    assert KEYS["training.precision"].type == "`auto` or `float32` or `bfloat16`"
    assert KEYS["training.fine_tune"].default == "`null`"
    assert KEYS["dataset"].default == "required"
    assert KEYS["training.optimizer.betas"].type == "list of 2: number ≥ 0 < 1"
    assert KEYS["study.pairs[].misregistration_mm"].unit == "mm"
    assert KEYS["cohort.voxels_mm.NAME.mr"].default == "`[5.0, 4.0, 4.0]`"


def test_a_key_of_the_shipped_params_is_missing():
    import yaml

    def paths(value, above=""):
        for name, inner in value.items():
            yield above + name
            if isinstance(inner, dict):
                yield from paths(inner, f"{above}{name}.")

    shipped = set(paths(yaml.safe_load((ROOT / "params.yaml").read_text())))
    free = ("registration.methods.", "training.network.")
    assert {path for path in shipped - set(KEYS) if not path.startswith(free)} == set()


def test_a_table_is_broken_by_a_bar_in_a_meaning():
    for line in params.page().splitlines():
        if line.startswith("|"):
            assert len(re.findall(r"(?<!\\)\|", line)) == 6, line


def test_an_option_of_a_command_is_missing():
    import typer

    page = command_line.page()
    root = typer.main.get_command(COMMANDS)
    assert len(root.commands) >= 14
    for name, command in root.commands.items():
        part = page.partition(f"## synthct {name}\n")[2].partition("\n## ")[0]
        for parameter in command.params:
            if parameter.param_type_name == "option":
                assert f"`{parameter.opts[0]}`" in part, (name, parameter.opts)
                assert parameter.help or parameter.name in ("fixed", "moving", "input"), (
                    parameter.name
                )


@pytest.mark.parametrize("each", REGISTRIES, ids=lambda each: each.file)
def test_a_member_of_a_registry_is_missing_or_unexplained(each):
    page = plugins.pages()[f"reference/{each.file}.md"]
    for name, cls in each.registry.items():
        if cls.__module__.partition(".")[0] in ("synthct",):  # others may register toys
            assert f"\n## {name} {{#{name}}}\n" in page
            assert cls.__doc__


def test_a_formula_cannot_be_drawn():
    from docs.generator.mathml import mathml

    formulas = [
        formula
        for page in plugins.pages().values()
        for formula in re.findall(r":math:`([^`]+)`|^\$\$\n(.+?)\n\$\$$", page, re.M | re.S)
    ]
    assert len(formulas) > 100
    for inline, display in formulas:
        made = mathml(inline or display, "inline")
        assert made.startswith("<math")
        assert "\\" not in made, inline or display  # a command that the converter does not know


def test_a_docstring_loses_its_references():
    text = markdown("One.\n\nReferences\n----------\nA & B, Title, arXiv:1234.56789.\n")
    assert (
        text
        == "One.\n\n**References.** A & B, Title, [arXiv:1234.56789](https://arxiv.org/abs/1234.56789)."
    )


def test_an_optional_part_of_an_interval_is_read_as_a_unit():
    assert params._unit("x", "Scaled to [-1, 1].") == ("", "Scaled to [-1, 1].")
    assert params._unit("x", "Largest difference [network units].") == (
        "network units", "Largest difference.",
    )  # fmt: skip


def test_a_role_of_sphinx_is_shown_as_it_is():
    assert prose(":class:`~synthct.data.errors.DataError` and ``x``") == "`DataError` and `x`"


def test_an_environment_variable_is_not_in_the_docs():
    found = subprocess.run(
        ["git", "grep", "-hoE", r"SYNTHCT_[A-Z_]*[A-Z]", "--", "data", "tasks", "flows", "infra"],
        cwd=ROOT, capture_output=True, text=True, check=True, env={**os.environ},
    )  # fmt: skip
    page = (ROOT / "docs/reference/environment.md").read_text()
    assert table() in page, "python -m synthct.data.environment"
    assert {name for name in found.stdout.split() if f"`{name}`" not in page} == set()


def test_the_page_of_formats_states_what_no_test_shows():
    from docs.make_formats import PAGE, outcomes, tables

    assert len(outcomes()) >= 60
    assert tables() in PAGE.read_text(), "python -m docs.make_formats"


def test_a_public_name_is_not_on_the_page_of_the_api():
    import synthct
    from docs.generator import api

    page = api.page()
    for name in set(synthct.__all__) - {"__version__"}:
        assert f"\n### {name}\n" in page or f"| `synthct.{name}` |" in page, name
