"""Garbage collection of array voxels that no receipt names any more."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from synthct.data.files import RECEIPT
from synthct.data.store.objects import Objects
from synthct.data.store.receipts import objects_named
from synthct.data.store.result_cache import ResultCache
from synthct.flows.upkeep.pruning import LEAST_AGE_S, named_texts


@dataclass(frozen=True)
class DoomedObjects:
    """What could go.

    Parameters
    ----------
    names
        Objects that no receipt names and that are old enough.
    size
        Of them together [bytes].
    kept
        Objects that stay.
    """

    names: tuple[str, ...]
    size: int
    kept: int


def doomed_objects(
    root: Path, units: ResultCache, url: str, least_age_s: float = LEAST_AGE_S
) -> DoomedObjects:
    """Objects below ``url`` that no receipt of a unit, of any lock's out or of a worktree names.

    The objects are listed before the receipts are read: what is moved meanwhile is not judged.
    """
    present = Objects(url).facts()
    named = named_objects(root, units)
    names = tuple(
        name for name, (_, age_s) in present.items() if name not in named and age_s >= least_age_s
    )
    return DoomedObjects(names, sum(present[name][0] for name in names), len(present) - len(names))


def named_objects(root: Path, units: ResultCache) -> set[str]:
    """Names in the receipts of all kept units, of what locks name and of what lies in worktrees."""
    texts = [*units.texts(RECEIPT), *named_texts(root, RECEIPT)]
    return {name for text in texts for name in objects_named(text)}


def prune_objects(url: str, names: Iterable[str], least_age_s: float = LEAST_AGE_S) -> int:
    """Remove them, but none that was written again since it was judged; how many were removed."""
    objects, count = Objects(url), 0
    still = objects.facts()
    for name in names:
        if name in still and still[name][1] >= least_age_s:
            objects.remove(name)
            count += 1
    return count
