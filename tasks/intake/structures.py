"""Draws a structure set as masks in the reader process.

Original names and contours stay in that process; it returns numbers and neutral names
(:mod:`synthct.tasks.intake.structure_names`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from synthct.data.errors import DataError
from synthct.data.files import whole_folder
from synthct.data.readers.checks import as_data_errors
from synthct.data.readers.contents import Outlines
from synthct.data.readers.contours import DrawnOn
from synthct.data.readers.header_facts import grid_from_json
from synthct.data.readers.rasterise import Drawing, draw
from synthct.data.readers.structures import find_structures, outlines
from synthct.data.volume import Grid
from synthct.data.writers import write_image
from synthct.tasks.intake.structure_names import neutral_names


def references_of(*, path: str, uid: str) -> dict[str, Any]:
    """Neutral name and references of each structure of a set. Runs in the reader process.

    Returns ``names`` and ``drawn_on`` in the order of the set, their ``count``, and ``unfit``: the
    error code by name of the structures that cannot be read.
    """
    with as_data_errors(path):
        found = _outlines(path, uid)
    originals = [*found.names, *(name for name in found.left_out if name not in found.names)]
    names = neutral_names(originals)
    places = [found.drawn_on.get(name, DrawnOn()).as_json() for name in found.names]
    count = len(found.names)
    neutral = dict(zip(originals, names, strict=True))
    unfit = {neutral[name]: code for name, code in found.left_out.items()}
    return {"names": names[:count], "drawn_on": places, "count": count, "unfit": unfit}


def inspect_structures(
    *, path: str, uid: str, grid: Mapping[str, Any], only: Sequence[int]
) -> dict[str, Any]:
    """Volumes [cm^3] by neutral name, error codes by name, a digest. Runs in the reader process.

    Also, by name, in how many slices contours cross (``crossed``). ``only`` has the indices, in
    the set, of the structures that are drawn.
    """
    volumes_cm3: dict[str, float] = {}
    unfit: dict[str, str] = {}
    crossed: dict[str, int] = {}
    digest = hashlib.sha256()
    with as_data_errors(path):
        for name, drawn in _drawn(path, uid, grid_from_json(grid), only):
            if isinstance(drawn, DataError):
                unfit[name] = drawn.code
                continue
            mask = drawn.mask
            crossed |= {name: drawn.crossed} if drawn.crossed else {}
            volumes_cm3[name] = round(float(mask.array.sum()) * mask.grid.voxel_mm3 / 1000, 2)
            digest.update(name.encode() + np.packbits(mask.array).tobytes())
    return {"volumes_cm3": volumes_cm3, "unfit": unfit, "crossed": crossed,
            "digest": digest.hexdigest()}  # fmt: skip


def copy_structures(
    *, path: str, uid: str, grid: Mapping[str, Any], only: Sequence[int], folder: str
) -> int:
    """Write ``NAME.mha`` for each structure inside the scan. Runs in the reader process."""
    count = 0
    with whole_folder(Path(folder)) as building, as_data_errors(path):
        for name, drawn in _drawn(path, uid, grid_from_json(grid), only):
            if isinstance(drawn, Drawing):
                write_image(building / f"{name}.mha", drawn.mask)
                count += 1
    return count


def _outlines(path: str, uid: str) -> Outlines:
    return Outlines.from_json(outlines(find_structures(Path(path), uid), path))


def _drawn(
    path: str, uid: str, grid: Grid, only: Sequence[int]
) -> Iterator[tuple[str, Drawing | DataError]]:
    found = _outlines(path, uid)
    names = neutral_names(found.names)
    for number in only:
        try:
            yield names[number], draw(found, found.names[number], grid)
        except DataError as error:
            yield names[number], error
