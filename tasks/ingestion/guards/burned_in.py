"""Text burned into the pixels: names that cleaning the header does not remove."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from synthct.data.volume import Modality, Volume
from synthct.tasks.ingestion.findings import Code, Finding, Severity
from synthct.tasks.ingestion.guards import GUARDS

BURNED_IN = Code(
    "burned-in-text",
    Severity.QUARANTINE,
    "thin strokes of one grey value outside the body look like text in the pixels",
    "look at the slice; export the series without annotations",
)

MARGIN = 3
"""Voxels around the body outline that are not checked."""


@GUARDS.register("burned_in")
@dataclass(frozen=True)
class BurnedIn:
    """Letters are several thin strokes of exactly one bright value, which noise does not produce.

    Parameters
    ----------
    least_pixels
        Fewest pixels of the brightest value outside the body in one slice.
    least_strokes
        Fewest connected components of these pixels.
    thickest
        Largest width of a stroke [pixels]: erosion by half of it leaves nothing.
    """

    least_pixels: int = 25
    least_strokes: int = 3
    thickest: int = 4
    needs_mask: ClassVar[bool] = True

    def __call__(self, scan: Volume, mask: Volume | None) -> tuple[Volume, list[Finding]]:
        """Look outside the body, slice by slice."""
        if mask is None or not mask.array.any():
            return scan, []
        inside = scan.array[mask.array > 0]
        bright = float(np.percentile(inside, 50)) * (0.5 if scan.modality is Modality.MR else 1.0)
        bright = bright if scan.modality is Modality.MR else max(bright, -300.0)
        around = ndimage.generate_binary_structure(2, 2)
        written = []
        for number, (plane, body) in enumerate(zip(scan.array, mask.array > 0, strict=True)):
            outside = ~ndimage.binary_dilation(body, around, iterations=MARGIN)
            if outside.any() and plane[outside].max() > bright:
                strokes = outside & (plane == plane[outside].max())
                if self._is_text(strokes):
                    written.append(number)
        if not written:
            return scan, []
        sentence = f"strokes of one value outside the body in {len(written)} slices"
        return scan, [BURNED_IN.found(f"{sentence}, the first number {written[0] + 1}")]

    def _is_text(self, strokes: NDArray[np.bool_]) -> bool:
        if strokes.sum() < self.least_pixels:
            return False
        _, pieces = ndimage.label(strokes, ndimage.generate_binary_structure(2, 2))
        thick = ndimage.binary_erosion(strokes, iterations=max(1, self.thickest // 2)).any()
        return pieces >= self.least_strokes and not thick
