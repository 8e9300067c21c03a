"""A page made of a small artefact tree."""

from __future__ import annotations

from pathlib import Path

import pytest

from synthct.tasks.report.params import ReportParams
from synthct.tasks.report.run import run
from tests.fixtures.report_tree import Tree, copied


@pytest.fixture(scope="session")
def template(tmp_path_factory) -> Tree:
    """Three digital patients, MR and CBCT, all stages; to be read, not changed."""
    return Tree(tmp_path_factory.mktemp("template") / "fixture").build()


@pytest.fixture
def tree(template, tmp_path) -> Tree:
    """The same, for the test to change."""
    return copied(template, tmp_path / "workspaces" / "fixture")


@pytest.fixture(scope="session")
def page_file(template) -> Path:
    """The page of the unchanged tree."""
    run(template.context(), ReportParams(slices_per_case=2))
    return template.folder("report") / "index.html"


@pytest.fixture
def page(page_file) -> str:
    return page_file.read_text()
