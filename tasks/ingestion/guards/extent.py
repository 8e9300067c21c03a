"""The body within the image: none found, filling it, or cut by the field of view."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from synthct.data.volume import Volume
from synthct.tasks.ingestion.findings import Code, Finding, Severity
from synthct.tasks.ingestion.guards import GUARDS

NO_BODY = Code(
    "no-body",
    Severity.REJECT,
    "no body was found in the image",
    "check the scan or set ingestion.body.threshold",
)
FILLS_BOX = Code("body-fills-box", Severity.NOTE, "the body fills the whole image (a tight crop)")


@GUARDS.register("body")
@dataclass(frozen=True)
class Body:
    """The body outline is neither tiny nor the whole box.

    Parameters
    ----------
    least_cm3
        Smallest volume of the outline [cm^3].
    most
        Largest fraction of the box; more means a wrong threshold, a wrong scan, or a tight crop.
    """

    least_cm3: float = 50.0
    most: float = 0.99
    needs_mask: ClassVar[bool] = True

    def __call__(self, scan: Volume, mask: Volume | None) -> tuple[Volume, list[Finding]]:
        """Compare the volume of the mask with the limits."""
        if mask is None:
            return scan, []
        voxels = int((mask.array > 0).sum())
        volume_cm3 = voxels * mask.grid.voxel_mm3 / 1000
        if volume_cm3 < self.least_cm3:
            sentence = f"the body outline has {volume_cm3:.0f} cm3"
            return scan, [NO_BODY.found(sentence)]
        if voxels > self.most * mask.array.size:
            sentence = f"the body fills {voxels / mask.array.size:.1%} of the image"
            return scan, [FILLS_BOX.found(sentence)]
        return scan, []


CUT = Code(
    "cut-body",
    Severity.NOTE,
    "the field of view cuts the body: dose and scores near the cut are unreliable",
)

DARK_CORNERS = (0.02, 0.8)
"""Range of the fraction of a slice outside a reconstruction circle."""


@GUARDS.register("field_of_view")
@dataclass(frozen=True)
class FieldOfView:
    """A body that touches the edge of the field of view is noted.

    The field of view is the image or, where the corners have one value in all slices, the part
    with other values.

    Parameters
    ----------
    noted
        Fraction of the body's slices from which contact with the edge is noted.
    contact
        Fewest voxels of the body at the edge of a circle in a slice (one at a straight edge).
    """

    noted: float = 0.1
    contact: int = 5
    needs_mask: ClassVar[bool] = True

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
        found = self._finding(touching, present, "the image")
        rim = _rim(scan.array)
        if not found and rim is not None:
            at_rim = (body & rim).sum(axis=(1, 2)) >= self.contact
            found = self._finding(at_rim, present, "the reconstructed circle")
        return scan, found

    def _finding(self, touching: NDArray[Any], present: NDArray[Any], what: str) -> list[Finding]:
        cut, of = int(np.count_nonzero(touching & present)), int(present.sum())
        if cut <= self.noted * max(1, of):
            return []
        return [CUT.found(f"the body touches the edge of {what} in {cut} of {of} slices")]


def _rim(array: NDArray[Any]) -> NDArray[np.bool_] | None:
    """Voxels (Y, X) just inside the reconstructed circle; None where there is no circle."""
    blank = (array == array[0, 0, 0]).all(axis=0)
    corners = blank[[0, 0, -1, -1], [0, -1, 0, -1]]
    if not corners.all() or not DARK_CORNERS[0] < blank.mean() < DARK_CORNERS[1]:
        return None
    return np.asarray(ndimage.binary_dilation(blank, iterations=2) & ~blank)
