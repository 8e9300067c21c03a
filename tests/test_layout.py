"""Who may import whom among the folders that are not installed."""

from __future__ import annotations

import re

from tests.conftest import ROOT


def test_a_test_breaks_when_a_benchmark_is_changed():
    """Benchmarks may use the tests' fixtures; no test imports a benchmark."""
    imports = re.compile(r"^\s*(?:from|import) benchmarks\b", re.MULTILINE)
    found = [path for path in (ROOT / "tests").rglob("*.py") if imports.search(path.read_text())]
    assert found == []
