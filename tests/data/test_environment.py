"""Environment variables are declared once, read by everyone, and change no key."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from synthct.data.environment import UNITS, VARIABLES, table
from synthct.tasks.pipeline.code import code_files

ROOT = Path(__file__).resolve().parents[2]
OURS = [file for room in ("data", "tasks", "flows") for file in (ROOT / room).rglob("*.py")]
SPELLED = re.compile(r"SYNTHCT_[A-Z][A-Z_]*")
PAGE = ROOT / "docs/reference/environment.md"


def docstrings(tree):
    """The strings that stand as a statement of their own."""
    return {id(n.value) for n in ast.walk(tree) if isinstance(n, ast.Expr)}


def test_a_variable_is_spelled_outside_its_declaration():
    spelled = []
    for file in OURS:
        if file.name == "environment.py" or "SYNTHCT_" not in (text := file.read_text()):
            continue
        tree = ast.parse(text)
        prose = docstrings(tree)
        spelled += [
            f"{file.relative_to(ROOT)}:{node.lineno}"
            for node in ast.walk(tree)
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
            if id(node) not in prose and SPELLED.search(node.value)
        ]
        assert set(SPELLED.findall(text)) <= set(VARIABLES), f"{file} names an undeclared one"
    assert spelled == [], "import it from data/environment.py"


def test_a_document_or_a_service_names_a_variable_that_is_not_in_the_table():
    listed = set(re.findall(r"^\| `(SYNTHCT_\w+)`", PAGE.read_text(), re.MULTILINE))
    assert set(VARIABLES) < listed
    files = [*(ROOT / "docs").rglob("*.md"), *ROOT.glob("*.md"), *(ROOT / "infra").rglob("*")]
    for file in files:
        if file.is_file() and file.suffix in {".md", ".yaml", ".sh", ""}:
            named = set(SPELLED.findall(file.read_text(errors="replace")))
            assert named <= listed, file.relative_to(ROOT)


def test_the_table_leaves_a_variable_out():
    assert len(VARIABLES) == len(set(VARIABLES)) == 19
    for each in VARIABLES:
        assert f"| `{each}`" in table()
        assert each.meaning
        assert each.default
    assert table() in PAGE.read_text(), "python -m synthct.data.environment"


def test_a_variable_is_no_string_or_forgets_its_value(monkeypatch):
    monkeypatch.setenv("SYNTHCT_UNITS", "s3://b")
    assert UNITS.get() == "s3://b"
    assert f"{UNITS}" == "SYNTHCT_UNITS"
    monkeypatch.delenv("SYNTHCT_UNITS")
    assert UNITS.get() == ""


def test_a_new_variable_makes_every_finished_unit_stale():
    reached = {str(path) for path in code_files("synthct.tasks.registration.case")}
    assert "data/store/receipts.py" in reached
    assert "data/environment.py" not in reached
