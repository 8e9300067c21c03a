"""YAML of strangers is bounded, and whatever is wrong with it is one kind of error."""

from __future__ import annotations

import ast
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synthct.data.errors import UsageError
from synthct.data.yaml_text import (
    MAX_DIGITS,
    MAX_LEVELS,
    YamlRefused,
    dump_yaml,
    load_yaml,
    read_yaml,
)
from synthct.flows.clusters.settings import Slurm, read_settings
from synthct.tasks.chain.params import load_params, parse_params

ROOT = Path(__file__).resolve().parents[2]

LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 10)}]\n"
    for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)
KEYS = ", ".join(f"k{number}: 1" for number in range(30))
MERGED = f"a: &a {{{KEYS}}}\n" + "".join(
    f"{new}: &{new} {{<<: [{', '.join([f'*{old}'] * 10)}], {new}0: 1}}\n"
    for old, new in zip("abcd", "bcde", strict=True)
)
"""A little more than is allowed: the limits are tested, not what lies far beyond them."""
REFUSED = {
    "a billion values by aliases": LAUGHS,
    "300,000 merged keys": MERGED,
    "levels without end": "[" * (MAX_LEVELS + 5) + "]" * (MAX_LEVELS + 5),
    "brackets that are never closed": "[" * (MAX_LEVELS + 1),
    "braces within brackets": "[{a: " * MAX_LEVELS,
    "a long number of base 60": f"seed: {':'.join(['59'] * 134)}",
    "a long number of base 16": f"seed: 0x{'f' * MAX_DIGITS}",
    "an alias within what it names": "&a [*a]",
    "a long number of base 10": f"seed: {'9' * (MAX_DIGITS + 1)}",
    "a day that never was": "seed: 2026-13-45",
    "a file of megabytes": "# " + "x" * (9 << 20),
}


@pytest.mark.parametrize("text", REFUSED.values(), ids=REFUSED)
def test_a_bomb_runs_to_the_memory_limit_or_is_called_a_bug(text):
    started_s = time.monotonic()
    with pytest.raises(YamlRefused):
        load_yaml(text)
    assert time.monotonic() - started_s < 20


def test_params_presets_and_cluster_files_are_read_without_a_bound(tmp_path, monkeypatch):
    for name in ("params.yaml", "cluster.yaml"):
        (tmp_path / name).write_text(LAUGHS)
    monkeypatch.setenv("SYNTHCT_CLUSTER_FILE", str(tmp_path / "cluster.yaml"))
    for call in (
        lambda: load_params(tmp_path / "params.yaml"),
        lambda: parse_params(LAUGHS, where="preset"),
        lambda: read_settings(Slurm, tmp_path, "slurm"),
        lambda: read_yaml(tmp_path / "params.yaml"),
    ):
        with pytest.raises(UsageError, match="aliases that stand for more than"):
            call()


def test_bytes_that_are_no_text_are_called_a_bug(tmp_path):
    (tmp_path / "params.yaml").write_bytes(b"seed: \xff\xfe\n")
    for call in (load_params, read_yaml):
        with pytest.raises(UsageError, match="UTF-8"):
            call(tmp_path / "params.yaml")


def test_an_honest_alias_is_refused():
    assert load_yaml("a: &a {k: 1}\nb: *a\nc: {<<: *a, l: 2}") == {
        "a": {"k": 1}, "b": {"k": 1}, "c": {"k": 1, "l": 2},
    }  # fmt: skip
    assert load_yaml("") is None


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=20,
    )
)
def test_a_plain_value_comes_back_as_another(value):
    assert load_yaml(dump_yaml(value)) == value


@pytest.mark.parametrize("name", ["2e5", "0E0", "1e-3", ".5e1", "12", "yes", "2026-12-01"])
def test_a_data_set_with_the_name_of_a_number_gets_another_name(name):
    assert load_yaml(dump_yaml({"dataset": name, name: 1})) == {"dataset": name, name: 1}


def test_a_file_of_ours_reads_yaml_past_the_bound():
    calls = []
    for room in ("data", "tasks", "flows"):
        for file in (ROOT / room).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.Attribute) and node.attr in {
                    "safe_load", "load", "full_load", "unsafe_load", "safe_load_all", "load_all"
                } and getattr(node.value, "id", "") == "yaml":  # fmt: skip
                    calls.append(f"{file.relative_to(ROOT)}:{node.lineno}")
    assert calls == [], "use data/yaml_text.py"


@pytest.mark.parametrize("text", ["2e-2", "+2E-2", "2.e-2", ".2e-1", "20e-3"])
def test_a_number_as_people_write_it_is_not_taken_for_text(text):
    assert load_yaml(f"learning_rate: {text}") == {"learning_rate": 0.02}


def test_a_name_with_an_e_in_it_stays_a_name():
    assert load_yaml("[e2, 2e, 1e2x, x1e2]") == ["e2", "2e", "1e2x", "x1e2"]
