"""The code part of a key: what a module reaches, no more and no less."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from synthct.tasks.pipeline import code

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def tree(tmp_path):
    files = {
        "data/__init__.py": "",
        "data/volume.py": "",
        "tasks/__init__.py": "",
        "data/registry.py": "class Registry: ...",
        "tasks/fit.py": "from synthct.data import volume\ndef f():\n"
        "    from synthct.tasks import lazy\n",
        "tasks/lazy.py": "from synthct.tasks.plugins import KNOWN\n",
        "tasks/unrelated.py": "",
        "tasks/plugins/__init__.py": (
            "from synthct.data.registry import Registry\nKNOWN = Registry()\n"
        ),
        "tasks/plugins/one.py": "",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    package = tmp_path / "src" / "synthct"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    for room in ("data", "tasks"):
        (package / room).symlink_to(tmp_path / room)
    return tmp_path


def names(tree, module):
    return {str(path) for path in code.code_files(module, root=tree)}


def test_a_lazy_import_inside_a_function_counts(tree):
    assert "tasks/lazy.py" in names(tree, "synthct.tasks.fit")


def test_a_file_that_is_not_reached_does_not_make_a_unit_stale(tree):
    assert "tasks/unrelated.py" not in names(tree, "synthct.tasks.fit")


def test_a_new_plugin_does_not_change_the_files_of_a_unit(tree):
    before = names(tree, "synthct.tasks.fit")
    (tree / "tasks/plugins/two.py").write_text("")
    assert names(tree, "synthct.tasks.fit") == before


def test_a_named_plugin_brings_its_own_file(tree):
    assert "tasks/plugins/one.py" in names(tree, "synthct.tasks.plugins.one")


def test_dvc_depends_on_the_whole_plugin_folder(tree):
    assert "tasks/plugins" in {
        str(path) for path in code.CodeGraph(tree).stage("synthct.tasks.fit")
    }


def test_a_file_that_only_a_plugin_imports_is_not_watched(tree):
    (tree / "tasks/plugins/two.py").write_text("from synthct.tasks import unrelated\n")
    assert "tasks/unrelated.py" in {
        str(path) for path in code.CodeGraph(tree).stage("synthct.tasks.fit")
    }


@pytest.fixture
def worker(tree):
    """A process that loads `synthct.tasks.fit` of the tree and checks its code line by line."""
    (tree / "data/errors.py").write_text((ROOT / "data/errors.py").read_text())
    (tree / "tasks/pipeline").mkdir()
    (tree / "tasks/pipeline/__init__.py").touch()
    for name in ("code.py", "import_scan.py"):
        (tree / "tasks/pipeline" / name).write_text((ROOT / "tasks/pipeline" / name).read_text())
    script = (
        "import sys\nfrom synthct.tasks import fit\n"
        "from synthct.tasks.pipeline import code\ncode._CLOCK_SKEW_NS = 0\n"
        "print(flush=True)\n"
        "for line in sys.stdin:\n"
        "    wanted = line.strip() or code.code_hash(['synthct.tasks.fit'])\n"
        "    try:\n        code.require_code(['synthct.tasks.fit'], wanted)\n"
        "        print(wanted, flush=True)\n"
        "    except Exception as fault:\n        print(fault, flush=True)\n"
    )
    command = [sys.executable, "-c", script]
    with subprocess.Popen(
        command, cwd=tree, env={**os.environ, "PYTHONPATH": str(tree / "src")}, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    ) as process:  # fmt: skip
        process.stdout.readline()

        def ask(wanted=""):
            process.stdin.write(f"{wanted}\n")
            process.stdin.flush()
            return process.stdout.readline().strip()

        yield ask
        process.stdin.close()


def hash_of(tree):
    """As a stage's own process makes it, from what lies there now."""
    script = "from synthct.tasks.pipeline import code; print(code.code_hash(['synthct.tasks.fit']))"
    command = [sys.executable, "-c", script]
    done = subprocess.run(
        command, cwd=tree, env={**os.environ, "PYTHONPATH": str(tree / "src")}, capture_output=True,
        text=True, check=True,
    )  # fmt: skip
    return done.stdout.strip()


def test_a_worker_with_the_code_of_the_key_is_refused(worker, tree):
    wanted = hash_of(tree)
    assert worker(wanted) == wanted
    assert worker(wanted) == wanted


def test_a_worker_of_another_commit_makes_results_under_the_key_of_this_one(worker):
    assert "the worker runs other code than this run" in worker("0ab1")


@pytest.mark.parametrize("asked_before", [True, False])
def test_a_worker_with_an_old_file_computes_results_under_the_key_of_the_new_one(
    asked_before, worker, tree
):
    if asked_before:
        worker(hash_of(tree))
    (tree / "data/volume.py").write_text("NEW = 1\n")
    why = (
        "the worker runs other code than this run; "
        if asked_before
        else "data/volume.py changed after it was loaded"
    )
    assert why in worker(hash_of(tree))


def test_a_change_of_a_file_that_is_not_loaded_yet_costs_the_worker(worker, tree):
    (tree / "tasks/lazy.py").write_text("from synthct.tasks.plugins import KNOWN\nNEW = 1\n")
    assert worker(hash_of(tree)) == hash_of(tree)
