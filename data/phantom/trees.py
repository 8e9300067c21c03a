"""Branching vessels and airways: a random tree of tapering tubes."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from synthct.data.phantom.shapes import Shape, capsule


def grow_tree(
    rng: np.random.Generator,
    start: ArrayLike,
    direction: ArrayLike,
    *,
    radius_mm: float,
    length_mm: float,
    generations: int,
    spread_deg: float = 38.0,
) -> list[Shape]:
    """A dichotomous tree of capsules.

    Each branch splits in two that leave at about ``spread_deg`` in a random plane; the radii obey
    Murray's law with unequal daughters, ``r0^3 = r1^3 + r2^3``; lengths shrink by a fifth.
    """
    if generations == 0 or radius_mm < 0.6:
        return []
    origin = np.asarray(start, dtype=float)
    forward = _unit(np.asarray(direction, dtype=float))
    end = origin + forward * length_mm * rng.uniform(0.8, 1.2)
    share = rng.uniform(0.35, 0.65)
    radii = radius_mm * share ** (1 / 3), radius_mm * (1 - share) ** (1 / 3)
    aside = _unit(np.cross(forward, rng.standard_normal(3)))
    found = [capsule(origin, end, radius_mm, max(radii))]
    for sign, radius in zip((-1, 1), radii, strict=True):
        angle = np.deg2rad(spread_deg * rng.uniform(0.6, 1.3))
        turned = np.cos(angle) * forward + sign * np.sin(angle) * aside
        found += grow_tree(
            rng, end, turned, radius_mm=radius, length_mm=0.8 * length_mm,
            generations=generations - 1, spread_deg=spread_deg,
        )  # fmt: skip
    return found


def _unit(vector: NDArray[np.float64]) -> NDArray[np.float64]:
    return vector / (np.linalg.norm(vector) + 1e-9)
