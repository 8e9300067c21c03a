"""Garbage collection of the array store; arrays that any receipt refers to are kept.

A receipt is the file in an output that names the objects of its arrays in the store.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from synthct.data.files import RECEIPT
from synthct.data.store.objects import Objects
from synthct.data.store.receipts import objects_named
from synthct.data.store.result_cache import ResultCache
from synthct.flows.upkeep.pruning import MIN_AGE_S, named_texts


@dataclass(frozen=True)
class PrunableObjects:
    """Objects of the array store that can be removed.

    Parameters
    ----------
    names
        Objects that no receipt refers to and that are old enough.
    size
        Their total size [bytes].
    kept
        Number of objects that are kept.
    """

    names: tuple[str, ...]
    size: int
    kept: int


def prunable_objects(
    root: Path, units: ResultCache, url: str, min_age_s: float = MIN_AGE_S
) -> PrunableObjects:
    """Objects below ``url`` that no receipt of the result cache, a lock or a worktree refers to.

    The objects are listed before the receipts are read: later objects are not considered.
    """
    present = Objects(url).facts()
    named = named_objects(root, units)
    names = tuple(
        name for name, (_, age_s) in present.items() if name not in named and age_s >= min_age_s
    )
    return PrunableObjects(
        names, sum(present[name][0] for name in names), len(present) - len(names)
    )


def named_objects(root: Path, units: ResultCache) -> set[str]:
    """Objects in the receipts of the result cache, of outputs in locks, and of worktrees."""
    texts = [*units.texts(RECEIPT), *named_texts(root, RECEIPT)]
    return {name for text in texts for name in objects_named(text)}


def prune_objects(url: str, names: Iterable[str], min_age_s: float = MIN_AGE_S) -> int:
    """Remove the objects unless they were rewritten meanwhile; returns how many were removed."""
    objects, count = Objects(url), 0
    still = objects.facts()
    for name in names:
        if name in still and still[name][1] >= min_age_s:
            objects.remove(name)
            count += 1
    return count
