"""Imports go one way: flows -> tasks -> data; Dask stays in one file of ``tasks``."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MAY_IMPORT = {"data": {"data"}, "tasks": {"data", "tasks"}, "flows": {"data", "tasks", "flows"}}
FILES = sorted(
    path
    for room in MAY_IMPORT
    for path in (ROOT / room).rglob("*.py")
    if not {"raw", "artefacts"} & set(path.relative_to(ROOT).parts[:2])
)


def imported(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            found.add(str(node.module).split(".")[0])
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_room_imports_only_the_rooms_below_it(path):
    room = path.relative_to(ROOT).parts[0]
    assert imported(path) & set(MAY_IMPORT) <= MAY_IMPORT[room]


def test_only_the_fanout_knows_dask_and_no_task_knows_prefect_or_dvc():
    for path in FILES:
        if path.relative_to(ROOT).parts[0] == "flows":
            continue
        foreign = imported(path) & {"distributed", "dask", "prefect", "dvc"}
        allowed = (
            {"distributed"} if path.relative_to(ROOT) == Path("tasks/pipeline/fanout.py") else set()
        )
        assert foreign <= allowed, f"{path.relative_to(ROOT)} imports {foreign - allowed}"
