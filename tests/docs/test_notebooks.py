"""The notebooks of the documentation run from top to bottom, as in Jupyter, and hold no outputs."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys

import pytest

from tests.conftest import ROOT

NOTEBOOKS = sorted((ROOT / "docs/notebooks").glob("*.ipynb"))


def cells(path, kind):
    document = json.loads(path.read_text())
    assert document["nbformat"] == 4
    return ["".join(cell["source"]) for cell in document["cells"] if cell["cell_type"] == kind]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_shows_outputs_of_an_earlier_version(path):
    for cell in json.loads(path.read_text())["cells"]:
        assert cell.get("outputs", []) == []
        assert cell.get("execution_count") is None


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_says_what_it_is_for_and_checks_what_it_claims(path):
    assert cells(path, "markdown")[0].startswith("# ")
    trees = [ast.parse(code) for code in cells(path, "code")]
    assert any(isinstance(node, ast.Assert) for tree in trees for node in ast.walk(tree))


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_cell_of_a_notebook_fails(path, tmp_path):
    """Cell after cell in one process, in an empty folder; a notebook leaves the checkout alone."""
    script = tmp_path / "notebook.py"
    script.write_text("\n\n".join(cells(path, "code")))
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, str(script)], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
