"""A user's packages install and import on each installed Python; ``doctor`` finds no problem."""

from __future__ import annotations

import os

import pytest

from tests.pythons import PYTHONS, install, interpreter, run

IMPORTS = """
import importlib, importlib.metadata as metadata, importlib.util
failed = {}
for name in metadata.packages_distributions():
    if name.isidentifier() and importlib.util.find_spec(name):  # some wheels carry stray files
        try:
            importlib.import_module(name)
        except Exception as error:
            failed[name] = repr(error)
print(failed)
"""


@pytest.mark.slow
@pytest.mark.parametrize("version", PYTHONS)
def test_a_package_of_the_lock_does_not_import_on_this_python(version, tmp_path):
    if version not in os.environ.get("SYNTHCT_WHOLE_PYTHONS", "").split(","):
        pytest.skip(
            f"torch's CUDA build and its libraries are 6 GB: set SYNTHCT_WHOLE_PYTHONS={version}"
        )
    programs = install(interpreter(version), "run", tmp_path)
    assert run(programs / "python", "-W", "ignore", "-c", IMPORTS).splitlines()[-1] == "{}"
    assert "as pinned" in run(programs / "synthct", "doctor")
