"""Paths of the artefacts, and the folder of a checkout for unversioned files."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path


def study_folder(workspace: str) -> Path:
    """The out of the study that ran in the workspace of that name."""
    return Path("workspaces") / workspace / "artefacts" / "study"


@dataclass(frozen=True)
class Layout:
    """Paths of one workspace: the demo in the repository's root, or ``workspaces/NAME``.

    Paths are relative to the repository's root, the working directory of every stage, so that
    outputs do not depend on the path of the checkout.
    """

    workspace: Path = Path()
    dataset: str = "demo"
    own_cohort: bool = True
    """Whether the workspace's own ``cohort`` stage makes the scans (digital patients)."""

    @property
    def is_root(self) -> bool:
        """Whether this is the demo, whose artefacts lie under ``data/``."""
        return self.workspace == Path()

    @property
    def params_file(self) -> Path:
        """The workspace's ``params.yaml``: the single source of what runs."""
        return self.workspace / "params.yaml"

    @property
    def dvc_file(self) -> Path:
        """The workspace's rendered ``dvc.yaml``."""
        return self.workspace / "dvc.yaml"

    @property
    def raw(self) -> Path:
        """De-identified scans of the data set."""
        if self.own_cohort and not self.is_root:
            return self.workspace / "raw" / self.dataset
        return Path("data") / "raw" / self.dataset

    def artefact(self, stage: str) -> Path:
        """The folder that the stage writes; the digital patients of ``cohort`` are raw scans."""
        if stage == "cohort":
            return self.raw
        return (Path("data") if self.is_root else self.workspace) / "artefacts" / stage


def default_root() -> Path:
    """``.synthct`` beside git's common directory (so worktrees share it), else here."""
    found = subprocess.run(
        ["git", "rev-parse", "--path-format=absolute", "--git-common-dir"],
        capture_output=True,
        text=True,
        check=False,
    )
    base = Path(found.stdout.strip()).parent if found.returncode == 0 else Path.cwd()
    return base / ".synthct"
