"""The examples of the Python API, in docstrings and in the guide, run and print what they say."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import re

import pytest

import synthct
import synthct.api
from tests.conftest import ROOT

MODULES = (
    "synthct",
    *(f"synthct.api.{m.name}" for m in pkgutil.iter_modules(synthct.api.__path__)),
)


def guide() -> doctest.DocTest:
    page = ROOT / "docs/how-to/use-from-python.md"
    code = re.sub(r"^```.*$", "", page.read_text(), flags=re.MULTILINE)
    return doctest.DocTestParser().get_doctest(code, {}, page.stem, str(page), 0)


def examples() -> list[doctest.DocTest]:
    finder = doctest.DocTestFinder(exclude_empty=True, recurse=True)
    return [guide()] + [
        test
        for name in MODULES
        for test in finder.find(importlib.import_module(name), name)
        if test.examples
    ]


@pytest.mark.parametrize("example", examples(), ids=lambda test: test.name)
def test_an_example_that_a_user_copies_runs_and_prints_what_it_says(example, scene):
    told: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    runner.run(example, out=told.append)
    assert runner.summarize(verbose=False).failed == 0, "".join(told)


def test_every_public_function_of_ours_has_an_example():
    shown = {test.name.rpartition(".")[2] for test in examples()}
    functions = {n for n in synthct.__all__ if getattr(synthct, n).__class__.__name__ == "function"}
    assert functions <= shown
