"""A property test that passes without its regularizer proves nothing: each must fail then."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from synthct.tasks.regularization import REGULARIZERS
from synthct.tasks.regularization.base import seams_of

pytestmark = pytest.mark.slow

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
IN_TRAINING = [
    name
    for name, cls in REGULARIZERS.items()
    if cls.__module__.startswith("synthct.tasks.regularization.")
    and not set(seams_of(cls)) <= {"displacement", "image"}
]
"""Those on displacements show what they do by hand values in their own tests."""


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """Failed or passed, by file and test, of every claim with its regularizer neutralised."""
    results = tmp_path_factory.mktemp("mutations") / "junit.xml"
    command = [
        sys.executable, "-m", "pytest", "-q", "-m", "claim", "-p", "no:cacheprovider",
        f"--junitxml={results}", str(HERE),
    ]  # fmt: skip
    environment = {**os.environ, "SYNTHCT_TEST_NEUTRALISE": "1"}
    subprocess.run(command, cwd=ROOT, env=environment, check=False, capture_output=True)
    found: dict[str, dict[str, bool]] = {}
    for case in ElementTree.parse(results).iter("testcase"):
        file = case.get("classname").rpartition(".")[2].removeprefix("test_")
        found.setdefault(file, {})[case.get("name")] = case.find("failure") is not None
    return found


@pytest.mark.parametrize("name", IN_TRAINING)
def test_a_regularizer_that_does_nothing_would_be_noticed(name, outcomes):
    assert outcomes.get(name), f"{name} has no test marked as a claim"
    unnoticed = [test for test, failed in outcomes[name].items() if not failed]
    assert not unnoticed
