"""Every code that can be met is explained, and the page says what the code says."""

from __future__ import annotations

import ast
import re

import pytest

from docs.make_ingestion import PAGE, ROOT, codes, findings_table, refusals, refusals_table
from synthct.tasks.ingestion.findings import Severity

TEXT = PAGE.read_text()


def test_the_page_shows_the_tables_as_the_code_is():
    assert findings_table() in TEXT, "python -m docs.make_ingestion"
    assert refusals_table() in TEXT, "python -m docs.make_ingestion"


@pytest.mark.parametrize("code", codes(), ids=lambda code: code.name)
def test_each_finding_says_what_is_wrong_and_what_to_do(code):
    assert re.fullmatch(r"[a-z0-9-]+", code.name)
    assert len(code.meaning.split()) > 3
    if code.severity in (Severity.REJECT, Severity.QUARANTINE):
        assert code.remedy


def test_no_finding_is_made_without_an_entry_in_the_table():
    """``Finding(...)`` is built by ``Code.found``, or from a reader's error in the intake."""
    direct = []
    for folder in ("tasks/ingestion", "tasks/intake"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Finding":
                    direct.append(path.name)
    assert sorted(direct) == ["attachments.py", "findings.py", "inspection.py"]


def test_every_code_of_the_planted_faults_is_explained():
    from tests.fixtures.scan_faults import KINDS

    known = {code.name for code in codes()} | set(refusals()) | {"mixed-…"}
    for name, kind in KINDS.items():
        for code in kind.codes:
            assert code in known or code.startswith("mixed-") or code in LITERAL, (name, code)


LITERAL = {"missing-tag", "no-rescale", "few-slices", "not-3d"}
"""Given to ``broken_dicom`` by position, or chosen in a line."""
