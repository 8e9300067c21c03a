"""The names of the files between stages are declared once."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from synthct.tasks.pipeline import artefacts

ROOT = Path(__file__).resolve().parents[2]
NAMES = {name: value for name, value in vars(artefacts).items() if name.isupper()}

FOREIGN = {"data/readers/synthrad.py"}
"""Reads nnU-Net's ``dataset.json``, which has the name of one of ours."""


def test_a_declared_name_is_spelled_elsewhere():
    """A sentence for people may name a file; a path or a part of one may not."""
    declared = "|".join(map(re.escape, NAMES.values()))
    spelled = re.compile(rf"(?<![\w.-])({declared})(?![\w.])")
    found = []
    for file in (f for room in ("data", "tasks", "flows") for f in (ROOT / room).rglob("*.py")):
        if file == Path(str(artefacts.__file__)).resolve():
            continue
        if file.relative_to(ROOT).as_posix() in FOREIGN:
            continue
        tree = ast.parse(file.read_text())
        prose = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        found += [
            f"{file.relative_to(ROOT)}:{node.lineno} {node.value}"
            for node in ast.walk(tree)
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
            if id(node) not in prose and " " not in node.value and spelled.search(node.value)
        ]
    assert found == [], "import it from tasks/pipeline/artefacts.py"


def test_one_file_has_two_names():
    assert len(set(NAMES.values())) == len(NAMES)
