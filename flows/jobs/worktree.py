"""A git worktree for each scheduled run, which shares the DVC cache and the result cache."""

from __future__ import annotations

import configparser
import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from synthct.data.errors import MachineError, UsageError
from synthct.data.files import write_whole
from synthct.data.yaml_text import dump_yaml, read_yaml
from synthct.flows.workspace.freshness import dvc_command
from synthct.flows.workspace.project import PRIVATE, QUIET

BRANCH = "scheduled/"
"""Branch ``scheduled/WORKSPACE`` has the lock of the newest successful scheduled run, so garbage
collection keeps its outputs. ``git checkout scheduled/demo -- dvc.lock && dvc checkout`` gets
them."""


@contextlib.contextmanager
def worktree(root: Path, name: str, ref: str = "HEAD") -> Iterator[Path]:
    """Check out ``ref`` in a new worktree for the block; the user's own checkout is untouched.

    The result cache is found by ``git rev-parse --git-common-dir``, so the worktree shares it.

    Raises
    ------
    MachineError
        ``worktree``: git or DVC failed.
    """
    folder = root / PRIVATE / "worktrees"
    folder.mkdir(parents=True, exist_ok=True)
    _remove_dead(root, folder)
    place = folder / f"{name}.{os.getpid()}"
    _git(root, "worktree", "add", "--quiet", "--detach", str(place), ref)
    try:
        _share_cache(root, place)
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)
        _git(root, "worktree", "prune")


def _remove_dead(root: Path, folder: Path) -> None:
    """Remove worktrees whose process no longer exists: their run was killed."""
    for place in folder.iterdir():
        pid = place.name.rpartition(".")[2]
        if not (pid.isdigit() and Path(f"/proc/{pid}").exists()):
            shutil.rmtree(place, ignore_errors=True)
    _git(root, "worktree", "prune")


def _share_cache(root: Path, place: Path) -> None:
    """Copy DVC's local settings of the root (remotes, credentials) and share its cache."""
    settings = configparser.ConfigParser(interpolation=None)
    settings.read(root / ".dvc" / "config.local")
    if not settings.has_section("cache"):
        settings.add_section("cache")
    cache = _run(dvc_command("cache", "dir"), root)
    settings.set("cache", "dir", str((root / cache.strip()).resolve()))
    with (place / ".dvc" / "config.local").open("w") as file:
        settings.write(file)
    tracked = sorted((place / "data" / "raw").glob("*.dvc"))
    if tracked:
        names = [path.relative_to(place).as_posix() for path in tracked]
        _run(dvc_command("checkout", "--allow-missing", *names), place)


def restore(place: Path, workspace: Path) -> None:
    """Check out the outputs in the workspace's lock, as far as the cache has them.

    ``dvc repro`` does not do it: it recomputes a missing output that is marked as persistent.
    """
    if (place / workspace / "dvc.lock").is_file():
        target = (workspace / "dvc.yaml").as_posix()
        _run(dvc_command("checkout", "--allow-missing", target), place)


def override(params_file: Path, values: Mapping[str, Any]) -> None:
    """Set dotted keys in the worktree's params, and validate them before anything runs.

    Raises
    ------
    UsageError
        ``bad-override``, or an unknown key or invalid value.
    """
    if not values:
        return
    from synthct.tasks.chain.params import parse_params

    document = read_yaml(params_file) or {}
    for dotted, value in values.items():
        *parents, last = dotted.split(".")
        inner = document
        for key in parents:
            inner = inner.setdefault(key, {})
            if not isinstance(inner, dict):
                raise UsageError(
                    f"{key} is a value, not a section",
                    rule="an override names its key by the path to it, as in training.mr.steps",
                    where=dotted,
                    remedy="see params.yaml",
                    code="bad-override",
                )
        inner[last] = value
    text = dump_yaml(document, sort_keys=False)
    parse_params(text, where="overrides of this run")
    write_whole(params_file, text)


def keep_lock(root: Path, place: Path, workspace: str, message: str) -> None:
    """Commit params, DAG and lock of a successful run to the branch ``scheduled/WORKSPACE``."""
    base = place if workspace == "demo" else place / "workspaces" / workspace
    files = [base / name for name in ("params.yaml", "dvc.yaml", "dvc.lock")]
    present = [path.relative_to(place).as_posix() for path in files if path.is_file()]
    _git(place, "add", "--force", *present)
    if _git(place, "status", "--porcelain", "--untracked-files=no").strip():
        author = ("-c", "user.name=synthct", "-c", "user.email=synthct@localhost")
        _git(place, *author, "commit", "--quiet", "--no-verify", "--no-gpg-sign", "-m", message)
    _git(root, "update-ref", f"refs/heads/{BRANCH}{workspace}", _git(place, "rev-parse", "HEAD"))


def _git(folder: Path, *arguments: str) -> str:
    return _run(["git", *arguments], folder)


def _run(command: list[str], folder: Path) -> str:
    # A git hook's GIT_* variables would redirect git to another repository.
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    done = subprocess.run(
        command,
        cwd=folder,
        env={**inherited, **QUIET},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == 0:
        return done.stdout.strip()
    output = (done.stderr or done.stdout).strip().splitlines()
    reason = output[-1] if output else f"exit code {done.returncode}"
    raise MachineError(
        f"`{' '.join(command[:3])}` failed: {reason}",
        where=str(folder),
        remedy="run it there by hand to see the whole output",
        code="worktree",
    )
