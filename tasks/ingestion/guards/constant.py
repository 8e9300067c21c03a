"""Images without content."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from synthct.data.volume import Volume
from synthct.tasks.ingestion.findings import Code, Finding, Severity
from synthct.tasks.ingestion.guards import GUARDS

CONSTANT = Code("constant", Severity.REJECT, "every voxel has the same value", "export it again")
EMPTY = Code("empty-slices", Severity.NOTE, "some slices hold a single value")


@GUARDS.register("constant")
@dataclass(frozen=True)
class Constant:
    """A scan has more than one value, and so has each of its slices (an empty slice is noted)."""

    needs_mask: bool = False

    def __call__(self, scan: Volume, mask: Volume | None) -> tuple[Volume, list[Finding]]:
        """Compare minimum and maximum, of the volume and of each slice."""
        low, high = scan.array.min(axis=(1, 2)), scan.array.max(axis=(1, 2))
        if low.min() == high.max():
            sentence = f"every voxel is {low.min()}"
            return scan, [CONSTANT.found(sentence)]
        empty = int(np.count_nonzero(low == high))
        if empty:
            sentence = f"{empty} of {low.size} slices hold a single value"
            return scan, [EMPTY.found(sentence)]
        return scan, []
