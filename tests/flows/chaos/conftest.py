"""What an undisturbed run leaves, to compare with."""

from __future__ import annotations

from pathlib import Path

import pytest

from synthct.data.files import tree_hashes
from synthct.tasks.pipeline.fanout import here
from tests.flows.chaos.naps import stage

COUNT = 24


def outs(root: Path) -> dict[str, str]:
    """Hash of every file of the stage's out, but for what the log's path put into the keys."""
    folder = root / "data" / "artefacts" / "toy"
    return {name: value for name, value in tree_hashes(folder) if name != "units.json"}


def started(root: Path) -> list[str]:
    """Names of the units, once for each time that one started."""
    log = root / "started.log"
    return log.read_text().split() if log.exists() else []


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory):
    """Outs of a run that nobody disturbed."""
    root = tmp_path_factory.mktemp("calm")
    monkey = pytest.MonkeyPatch()
    monkey.chdir(root)
    monkey.setattr("tests.flows.chaos.naps.NAP_S", 0.0)
    stage(root, here, COUNT)
    monkey.undo()
    return outs(root)
