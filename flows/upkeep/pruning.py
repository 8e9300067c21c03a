"""Garbage collection of the result cache; entries that any ``dvc.lock`` uses are kept."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from synthct.data.errors import MachineError, UsageError
from synthct.data.store.cache_lock import exclusive_lock
from synthct.data.store.result_cache import LocalResults, ResultCache
from synthct.data.yaml_text import yaml_of
from synthct.flows.workspace.freshness import dvc_command
from synthct.tasks.pipeline.stage import UNIT_KEYS

MIN_AGE_S = 86_400.0
"""Age below which an entry is kept: it may belong to a running stage, and be in no lock yet."""


@dataclass(frozen=True)
class Prunable:
    """Entries of the result cache that can be removed.

    Parameters
    ----------
    keys
        Keys of the entries that no lock uses and that are old enough.
    kept
        Number of entries that are kept.
    """

    keys: tuple[str, ...]
    kept: int


def prunable(root: Path, units: ResultCache, min_age_s: float = MIN_AGE_S) -> Prunable:
    """Entries that no lock of any branch, tag, stash or worktree uses, nor any output on disk."""
    named = named_units(root)
    present = list(units.keys())
    keys = tuple(key for key in present if key not in named and units.age_s(key) >= min_age_s)
    return Prunable(keys, len(present) - len(keys))


def prune(root: Path, units: ResultCache, keys: Iterable[str], min_age_s: float = MIN_AGE_S) -> int:
    """Remove those of the entries that are still unused; returns how many were removed.

    While the user was asked, a run may have started to use an entry, or a branch may have been
    fetched. So all entries are checked again, under a lock that excludes running stages.

    Raises
    ------
    UsageError
        ``run-is-on``, ``lock-not-fetched``; nothing was removed.
    MachineError
        ``prune``: git or DVC failed; nothing was removed.
    """
    with exclusive_lock(units.place()):
        going = sorted(set(keys) & set(prunable(root, units, min_age_s).keys))
        for key in going:
            units.remove(key)
        if isinstance(units, LocalResults):
            units.sweep(min_age_s)
    return len(going)


def named_units(root: Path) -> set[str]:
    """Keys in the manifests of all outputs that a lock refers to or that are in a worktree."""
    return {key for text in named_texts(root, UNIT_KEYS) for key in _keys(text)}


def named_texts(root: Path, name: str) -> Iterator[str]:
    """Text of every file ``name`` in outputs that any ref's lock refers to or a worktree holds."""
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
    """Hashes of the output folders in a ``dvc.lock``."""
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
        "an output is not in the DVC cache; nothing was removed",
        rule="every output that a lock names must be in the DVC cache, to know which results "
        "it uses",
        where=str(path),
        remedy="dvc fetch --all-branches --all-tags, or delete branches whose results are lost",
        code="lock-not-fetched",
    )


def _keys(text: str) -> set[str]:
    return {str(entry["key"]) for entry in json.loads(text).values()}


def _locks(root: Path, trees: Iterable[Path]) -> Iterator[str]:
    refs = _git(root, "for-each-ref", "--format=%(objectname) %(objecttype)")
    commits = {line.split()[0] for line in refs.splitlines()}
    commits |= set(_git(root, "rev-parse", "--verify", "--quiet", "HEAD").split())
    # A ref names the newest stash only.
    commits |= set(_git(root, "stash", "list", "--format=%H").split())
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
    """All worktrees of the repository."""
    listed = _git(root, "worktree", "list", "--porcelain")
    paths = [
        line.removeprefix("worktree ") for line in listed.splitlines() if line[:9] == "worktree "
    ]
    return [Path(path) for path in paths if Path(path).is_dir()]


def _cache(root: Path) -> Path:
    return (root / _output(dvc_command("cache", "dir"), root)).resolve()


def _git(root: Path, *arguments: str) -> str:
    return _output(["git", *arguments], root)


def _output(command: list[str], folder: Path) -> str:
    done = subprocess.run(
        command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if done.returncode == 0:
        return done.stdout.strip()
    reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
    raise MachineError(
        f"`{' '.join(command[:3])}` failed: {reason}; nothing was removed",
        where=str(folder),
        remedy="repair the checkout, then prune again",
        code="prune",
    )
