"""The wheel as it would be published, and empty environments to put it into."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SECRET = "DOE^JANE, 7 March 1950, 4711-0815"
"""Lies where scans and artefacts of a checkout lie, and must not leave it."""


def build(folder: Path) -> tuple[Path, Path]:
    """(sdist, wheel): the sdist of a copy of this checkout, the wheel of what the sdist holds.

    A copy, because setuptools builds in place and a later wheel takes over what an earlier build
    left in ``build/``.
    """
    source = folder / "checkout"
    unwanted = shutil.ignore_patterns("raw", "artefacts", "__pycache__", "*.egg-info")
    for room in ("data", "docs", "tasks", "flows", "src"):  # flows/cli/pages links to docs
        shutil.copytree(ROOT / room, source / room, symlinks=True, ignore=unwanted)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy2(ROOT / name, source / name)
    for place in ("data/raw", "data/raw/hospital/P1", "data/artefacts/export", "data"):
        (source / place).mkdir(parents=True, exist_ok=True)
        for name in ("scan.dcm", "scan.mha", "report.json"):
            (source / place / name).write_text(SECRET)
    for place in ("data/raw", "data/artefacts/report"):
        (source / place).mkdir(parents=True, exist_ok=True)
        for name in ("notes.py", "page.css", "page.js"):
            (source / place / name).write_text(f"# {SECRET}")
    script = f"from setuptools import build_meta; build_meta.build_sdist({str(folder)!r})"
    _run([sys.executable, "-c", script], cwd=source)
    (sdist,) = folder.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder / "unpacked", filter="data")
    (unpacked,) = (folder / "unpacked").iterdir()
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-index"]
    _run([*command, "--no-build-isolation", "--wheel-dir", str(folder), str(unpacked)], cwd=folder)
    (wheel,) = folder.glob("*.whl")
    return sdist, wheel


def make_environment(folder: Path, *, shared: bool) -> Path:
    """Python of a new virtual environment; ``shared``: it sees the packages of this one."""
    pip = [] if not shared else ["--without-pip"]
    _run([sys.executable, "-m", "venv", *pip, str(folder)])
    python = folder / "bin" / "python"
    if shared:
        # Not --system-site-packages: a .pth of those, such as that of an editable install of ours,
        # is not followed, and this environment's own folder comes first.
        places = {place for place in sys.path if Path(place).name == "site-packages"}
        (site_packages(folder) / "shared.pth").write_text("\n".join(sorted(places)) + "\n")
    return python


def site_packages(folder: Path) -> Path:
    """Where the environment installs."""
    place = sysconfig.get_path("purelib", "venv", vars={"base": str(folder)})
    return Path(place)


def clean_environment() -> dict[str, str]:
    """Variables without those through which a checkout could be seen."""
    hidden = {"PYTHONPATH", "VIRTUAL_ENV", "PYTHONHOME"}
    return {key: value for key, value in os.environ.items() if key not in hidden}


def _run(command: list[str], cwd: Path | None = None) -> None:
    done = subprocess.run(
        command, cwd=cwd, env=clean_environment(), capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{command[:4]}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
