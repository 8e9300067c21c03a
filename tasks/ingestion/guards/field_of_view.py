"""Bodies cut by the edge of the image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from data.volume import Volume
from tasks.ingestion.findings import Finding, Severity
from tasks.ingestion.guards import GUARDS


@GUARDS.register("field_of_view")
@dataclass(frozen=True)
class FieldOfView:
    """The body ends inside the image in each axial slice; where it does not, that is noted.

    Parameters
    ----------
    noted
        Part of the body's slices that may touch the edge unsaid.
    """

    noted: float = 0.1
    needs_mask: bool = True

    def __call__(self, scan: Volume, mask: Volume | None) -> tuple[Volume, list[Finding]]:
        """Count slices whose body touches a side face."""
        if mask is None:
            return scan, []
        body = mask.array > 0
        touching = (
            body[:, 0].any(axis=1) | body[:, -1].any(axis=1)
            | body[:, :, 0].any(axis=1) | body[:, :, -1].any(axis=1)
        )  # fmt: skip
        present = body.any(axis=(1, 2))
        cut = int(np.count_nonzero(touching))
        if cut <= self.noted * max(1, int(present.sum())):
            return scan, []
        sentence = f"the body touches the edge of the image in {cut} of {int(present.sum())} slices"
        return scan, [Finding("cut-body", Severity.NOTE, sentence)]
