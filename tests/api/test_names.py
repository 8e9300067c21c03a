"""``import synthct`` costs nothing, names all that it promises and nothing else."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import synthct

FILE = Path(synthct.__file__)
HEAVY = (
    "torch",
    "prefect",
    "distributed",
    "dask",
    "SimpleITK",
    "scipy",
    "numpy",
    "pydantic",
    "zarr",
)


def fresh(script: str) -> str:
    """What the script prints in a new interpreter."""
    code = [sys.executable, "-c", script]
    environment = {"PYTHONPATH": str(FILE.parent.parent), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(code, capture_output=True, text=True, env=environment, check=True)
    return done.stdout.strip()


@pytest.mark.parametrize("name", synthct.__all__)
def test_no_promised_name_is_missing(name):
    assert getattr(synthct, name) is not None
    assert name in dir(synthct)


def test_what_a_type_checker_sees_is_what_runs():
    """The imports under TYPE_CHECKING, the table of the lazy imports and __all__ agree."""
    tree = ast.parse(FILE.read_text())
    checked = {
        (node.module.removeprefix("synthct."), alias.name)
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("synthct.")
        for alias in node.names
    }
    lazy = {(module, name) for module, names in synthct._NAMES.items() for name in names}
    assert checked == lazy
    assert {name for _, name in lazy} | {"__version__"} == set(synthct.__all__)
    assert (FILE.parent / "py.typed").is_file()


def test_importing_the_package_loads_nothing_heavy():
    script = f"import sys, synthct\nprint([n for n in {HEAVY!r} if n in sys.modules])"
    assert fresh(script) == "[]"


def test_reading_the_version_or_an_error_class_loads_nothing_heavy():
    script = (
        "import sys, synthct\nsynthct.__version__, synthct.DataError, synthct.UsageError\n"
        f"print([n for n in {HEAVY!r} if n in sys.modules])"
    )
    assert fresh(script) == "[]"


def test_a_misspelt_name_is_an_attribute_error_that_names_the_package():
    with pytest.raises(AttributeError, match="module 'synthct' has no attribute 'regsiter'"):
        synthct.regsiter  # noqa: B018


def test_a_name_is_looked_up_once():
    assert synthct.Volume is synthct.Volume
    assert "Volume" in vars(synthct)


@pytest.mark.parametrize(
    "name",
    ["REGULARIZERS", "LOSSES", "NETWORKS", "METHODS", "SIMILARITIES", "DEFORMATIONS", "METRICS",
     "CHECKS", "BASELINES", "GUARDS"],
)  # fmt: skip
def test_every_registry_lists_its_members(name):
    registry = getattr(synthct, name)
    assert registry.names()
    assert registry.get(registry.names()[0])
