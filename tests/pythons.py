"""Virtual environments as a user makes them: an interpreter at hand, its lock, our package."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT, skip_or_fail

PYTHONS = ("3.11", "3.12", "3.13", "3.14")


def interpreter(version: str) -> Path:
    """Path of a Python of this version, or a reason why not."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    found = [shutil.which(f"python{version}"), *sorted(pyenv.glob(f"{version}.*/bin/python"))]
    for each in filter(None, found):  # a shim of pyenv is on the PATH and yet no Python
        if subprocess.run([each, "-c", ""], capture_output=True).returncode == 0:
            return Path(each)
    skip_or_fail("pythons", f"Python {version} is not at hand")
    raise AssertionError


def install(python: Path, role: str, folder: Path) -> Path:
    """Folder of the programs of a new environment with the lock of a role and our package."""
    venv = folder / "venv"
    done = subprocess.run(
        [str(ROOT / "infra/local/install.sh"), str(venv), role],
        env=_environment() | {"PYTHON": str(python)}, capture_output=True, text=True,
    )  # fmt: skip
    if "(from versions: none)" in done.stderr:
        skip_or_fail("index", f"no package index: {done.stderr.strip().splitlines()[-1][:200]}")
    assert done.returncode == 0, done.stderr
    pip = [venv / "bin/python", "-m", "pip"]
    run(*pip, "install", "--quiet", "--no-deps", "--no-build-isolation", _source(folder / "source"))
    run(*pip, "check")
    return venv / "bin"


def run(*command: object) -> str:
    """What a program of such an environment prints; it must succeed."""
    done = subprocess.run(
        [str(each) for each in command], env=_environment(), cwd="/", capture_output=True, text=True
    )
    if done.returncode:
        pytest.fail(f"{command}: exit code {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done.stdout


def _source(folder: Path) -> Path:
    """The checkout as git knows it: pip builds where the sources are and leaves its traces."""
    names = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    folder.mkdir()
    for name in filter(None, names.split("\0")):
        path = ROOT / name
        if path.is_file() or path.is_symlink():  # the links of src/synthct lead to folders
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, folder / name, follow_symlinks=False)
    return folder


def _environment() -> dict[str, str]:
    ours = ("PYTHONPATH", "VIRTUAL_ENV", "PYTHON")
    return {name: value for name, value in os.environ.items() if name not in ours}
