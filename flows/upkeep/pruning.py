"""Garbage collection of finished units that cannot remove what any lock still names."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from synthct.data.errors import MachineError, UsageError
from synthct.data.store.cache_lock import alone
from synthct.data.store.result_cache import LocalResults, ResultCache
from synthct.data.yaml_text import yaml_of
from synthct.flows.workspace.freshness import dvc_command
from synthct.tasks.pipeline.stage import UNIT_KEYS

LEAST_AGE_S = 86_400.0
"""A younger unit may belong to a run that is still on: it is in no lock yet."""


@dataclass(frozen=True)
class Doomed:
    """What could go.

    Parameters
    ----------
    keys
        Units that nothing names and that are old enough.
    kept
        Units that stay.
    """

    keys: tuple[str, ...]
    kept: int


def doomed(root: Path, units: ResultCache, least_age_s: float = LEAST_AGE_S) -> Doomed:
    """Units that no lock of any branch, tag, stash or worktree names, nor any out on disk."""
    named = named_units(root)
    present = list(units.keys())
    keys = tuple(key for key in present if key not in named and units.age_s(key) >= least_age_s)
    return Doomed(keys, len(present) - len(keys))


def prune(
    root: Path, units: ResultCache, keys: Iterable[str], least_age_s: float = LEAST_AGE_S
) -> int:
    """Remove those of the units that may still go; how many were removed.

    Between the judgement and now (a person was asked) a run may have begun to count on one, and
    a branch may have been fetched: no run is on while all is judged again.

    Raises
    ------
    UsageError
        ``run-is-on``; nothing was removed.
    """
    with alone(units.place()):
        going = sorted(set(keys) & set(doomed(root, units, least_age_s).keys))
        for key in going:
            units.remove(key)
        if isinstance(units, LocalResults):
            units.sweep(least_age_s)
    return len(going)


def named_units(root: Path) -> set[str]:
    """Keys in the manifest of every out that a lock names or that lies in a worktree."""
    return {key for text in named_texts(root, UNIT_KEYS) for key in _keys(text)}


def named_texts(root: Path, name: str) -> Iterator[str]:
    """Every file so named in an out that the lock of any ref names or that lies in a worktree."""
    trees = worktrees(root)
    cache = _cache(root)
    for md5 in sorted({md5 for text in _locks(root, trees) for md5 in directories(text)}):
        entries = json.loads(_object(cache, md5).read_text())
        for each in entries:
            if Path(each["relpath"]).name == name:
                yield _object(cache, each["md5"]).read_text()
    for tree in trees:
        for folder in ("data/artefacts", "data/raw", "workspaces"):
            for file in (tree / folder).rglob(name):
                yield file.read_text()


def directories(lock: str) -> set[str]:
    """Hashes of the folders that the stages of a ``dvc.lock`` wrote."""
    document: Any = yaml_of(lock, where="dvc.lock") or {}
    return {
        str(out["md5"])
        for stage in (document.get("stages") or {}).values()
        for out in stage.get("outs") or []
        if str(out.get("md5", "")).endswith(".dir")
    }


def _object(cache: Path, md5: str) -> Path:
    path = cache / "files" / "md5" / md5[:2] / md5[2:]
    if path.is_file():
        return path
    raise UsageError(
        "every output that a lock names must be in the DVC cache, to know which results it uses",
        problem="an output is not in the DVC cache; nothing was removed",
        where=str(path),
        remedy="dvc fetch --all-branches --all-tags, or delete branches whose results are lost",
        code="lock-not-fetched",
    )


def _keys(text: str) -> set[str]:
    return {str(entry["key"]) for entry in json.loads(text).values()}


def _locks(root: Path, trees: Iterable[Path]) -> Iterator[str]:
    told = _git(root, "for-each-ref", "--format=%(objectname) %(objecttype)")
    commits = {line.split()[0] for line in told.splitlines()}
    commits |= set(_git(root, "rev-parse", "--verify", "--quiet", "HEAD").split())
    for commit in sorted(commits):
        files = _git(root, "ls-tree", "-r", "--name-only", commit).splitlines()
        for name in files:
            if Path(name).name == "dvc.lock":
                yield _git(root, "show", f"{commit}:{name}")
    for tree in trees:
        for path in (tree / "dvc.lock", *tree.glob("workspaces/*/dvc.lock")):
            if path.is_file():
                yield path.read_text()


def worktrees(root: Path) -> list[Path]:
    """All checkouts of the repository."""
    told = _git(root, "worktree", "list", "--porcelain")
    paths = [
        line.removeprefix("worktree ") for line in told.splitlines() if line[:9] == "worktree "
    ]
    return [Path(path) for path in paths if Path(path).is_dir()]


def _cache(root: Path) -> Path:
    return (root / _said(dvc_command("cache", "dir"), root)).resolve()


def _git(root: Path, *arguments: str) -> str:
    return _said(["git", *arguments], root)


def _said(command: list[str], folder: Path) -> str:
    done = subprocess.run(
        command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if done.returncode == 0:
        return done.stdout.strip()
    reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
    raise MachineError(
        "",
        problem=f"`{' '.join(command[:3])}` failed: {reason}; nothing was removed",
        where=str(folder),
        remedy="repair the checkout, then prune again",
        code="prune",
    )
