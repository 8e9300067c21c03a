"""Where a checkout keeps what is not versioned."""

from __future__ import annotations

import subprocess
from pathlib import Path


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
