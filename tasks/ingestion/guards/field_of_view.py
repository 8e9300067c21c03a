"""Bodies cut by the edge of the image, or by the circle that a scanner reconstructs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from synthct.data.volume import Volume
from synthct.tasks.ingestion.findings import Code, Finding, Severity
from synthct.tasks.ingestion.guards import GUARDS

CUT = Code(
    "cut-body",
    Severity.NOTE,
    "the field of view cuts the body: dose and scores near the cut are not to be believed",
)

DARK_CORNERS = (0.02, 0.8)
"""Part of a slice that lies outside a reconstruction circle."""


@GUARDS.register("field_of_view")
@dataclass(frozen=True)
class FieldOfView:
    """The body ends inside the image in each axial slice; where it does not, that is noted.

    The field of view is the image, or, where the corners hold one value in all slices, what is
    not of that value.

    Parameters
    ----------
    noted
        Part of the body's slices that may touch the edge unsaid.
    contact
        Voxels of the body that must lie at the edge of a circle in a slice (at a straight edge
        one is enough).
    """

    noted: float = 0.1
    contact: int = 5
    needs_mask: bool = True

    def __call__(self, scan: Volume, mask: Volume | None) -> tuple[Volume, list[Finding]]:
        """Count slices whose body touches a side face, or the circle's rim."""
        if mask is None:
            return scan, []
        body = mask.array > 0
        touching = np.asarray(
            body[:, 0].any(axis=1) | body[:, -1].any(axis=1)
            | body[:, :, 0].any(axis=1) | body[:, :, -1].any(axis=1)
        )  # fmt: skip
        present = np.asarray(body.any(axis=(1, 2)))
        found = self._told(touching, present, "the image")
        rim = _rim(scan.array)
        if not found and rim is not None:
            at_rim = (body & rim).sum(axis=(1, 2)) >= self.contact
            found = self._told(at_rim, present, "the reconstructed circle")
        return scan, found

    def _told(self, touching: NDArray[Any], present: NDArray[Any], what: str) -> list[Finding]:
        cut, of = int(np.count_nonzero(touching & present)), int(present.sum())
        if cut <= self.noted * max(1, of):
            return []
        return [CUT.found(f"the body touches the edge of {what} in {cut} of {of} slices")]


def _rim(array: NDArray[Any]) -> NDArray[np.bool_] | None:
    """Voxels (Y, X) just inside what was reconstructed; None where nothing was left out."""
    blank = (array == array[0, 0, 0]).all(axis=0)
    corners = blank[[0, 0, -1, -1], [0, -1, 0, -1]]
    if not corners.all() or not DARK_CORNERS[0] < blank.mean() < DARK_CORNERS[1]:
        return None
    return np.asarray(ndimage.binary_dilation(blank, iterations=2) & ~blank)
