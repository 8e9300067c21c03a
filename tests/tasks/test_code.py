"""The code part of a key: what a module reaches, no more and no less."""

from __future__ import annotations

import pytest

from tasks import code


@pytest.fixture
def tree(tmp_path):
    files = {
        "data/__init__.py": "",
        "data/volume.py": "",
        "tasks/__init__.py": "",
        "tasks/registry.py": "class Registry: ...",
        "tasks/fit.py": "from data import volume\ndef f():\n    from tasks import lazy\n",
        "tasks/lazy.py": "from tasks.plugins import KNOWN\n",
        "tasks/unrelated.py": "",
        "tasks/plugins/__init__.py": "from tasks.registry import Registry\nKNOWN = Registry()\n",
        "tasks/plugins/one.py": "",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def names(tree, module):
    return {str(path) for path in code.code_files(module, root=tree)}


def test_a_lazy_import_inside_a_function_counts(tree):
    assert "tasks/lazy.py" in names(tree, "tasks.fit")


def test_a_file_that_is_not_reached_does_not_make_a_unit_stale(tree):
    assert "tasks/unrelated.py" not in names(tree, "tasks.fit")


def test_a_new_plugin_does_not_change_the_files_of_a_unit(tree):
    before = names(tree, "tasks.fit")
    (tree / "tasks/plugins/two.py").write_text("")
    assert names(tree, "tasks.fit") == before


def test_a_named_plugin_brings_its_own_file(tree):
    assert "tasks/plugins/one.py" in names(tree, "tasks.plugins.one")


def test_dvc_depends_on_the_whole_plugin_folder(tree):
    assert "tasks/plugins" in {str(path) for path in code.stage_code("tasks.fit", root=tree)}


def test_a_file_that_only_a_plugin_imports_is_not_watched(tree):
    (tree / "tasks/plugins/two.py").write_text("from tasks import unrelated\n")
    assert "tasks/unrelated.py" in {str(path) for path in code.stage_code("tasks.fit", root=tree)}
