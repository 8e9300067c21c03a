"""The registration floor: difference of the reference between alignments [HU].

No score against a registered CT can resolve less than the difference between two defensible
alignments of that CT. Here the same pair is registered again, by other methods or with other
seeds, and the moved CTs are compared as if one of them were a prediction.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synthct.data.errors import DataError
from synthct.data.files import canonical_json, write_whole
from synthct.data.store.volumes import read_volume
from synthct.data.tables import six_digits

FLOOR = "floor.json"

CHAIN = "chain"
"""Name of the alignment that the pipeline trains and scores on."""


def compare_alignments(*, out: Path, ct: Path, mask: Path, names: list[str], **moved: Path) -> None:
    """Unit: write ``floor.json`` of one case.

    Parameters
    ----------
    ct, mask
        The pipeline's moved CT, and the mask inside which scores are computed.
    names, moved
        Names of the other alignments; ``moved_0``, ``moved_1``, ... are their moved CTs.

    Raises
    ------
    DataError
        An alignment has another grid.
    """
    first = read_volume(ct)
    inside = read_volume(mask).array > 0
    images = {CHAIN: first.array}
    for number, name in enumerate(names):
        other = read_volume(moved[f"moved_{number}"])
        if not other.grid.is_close(first.grid):
            raise DataError(
                f"this alignment has the grid {other.grid.shape}, the pipeline's own has "
                f"{first.grid.shape}",
                rule="all alignments of a case have the same working grid",
                where=f"evaluation.floor, {name}",
                remedy="leave grid_spacing_mm and margin_mm as in the section registration",
                code="grid-mismatch",
            )
        images[name] = other.array
    write_whole(out / FLOOR, canonical_json(floor_of(images, inside)))


def floor_of(images: Mapping[str, NDArray[Any]], inside: NDArray[np.bool_]) -> dict[str, Any]:
    """Pairwise MAE and ME [HU] of the moved CTs, and the mean over pairs with the pipeline's.

    ``{"pairs": {"a | b": {mae_hu, me_hu}}, "floor_mae_hu": ..., "worst_mae_hu": ...}``.
    """
    pairs: dict[str, dict[str, float]] = {}
    for first, second in combinations(images, 2):
        error = images[second][inside].astype(np.float64) - images[first][inside]
        pairs[f"{first} | {second}"] = {
            "mae_hu": six_digits(float(np.abs(error).mean())),
            "me_hu": six_digits(float(error.mean())),
        }
    own = [pair["mae_hu"] for name, pair in pairs.items() if name.startswith(f"{CHAIN} | ")]
    return {
        "pairs": pairs,
        "floor_mae_hu": six_digits(float(np.mean(own))) if own else None,
        "worst_mae_hu": max(own, default=None),
    }
