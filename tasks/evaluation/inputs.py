"""Files to be scored, read onto the reference's grid; what is wrong with them is named."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synthct.data.errors import DataError
from synthct.data.itk import resample as resampled
from synthct.data.readers import read_scan
from synthct.data.volume import Grid, Modality, Volume
from synthct.tasks.evaluation.pair import Mask
from synthct.tasks.evaluation.profiles import OUTSIDE_HU

LEAST_SPREAD_HU = 20.0
"""Inside a body HU differ by more than this; images scaled to [0, 1] or z-scores do not."""

LEAST_MODERATE_SHARE = 0.5
"""Of a body's voxels at least this share lies between -1024 and 3071 HU; of a scan that was
scaled twice, or whose intercept was lost, it does not."""


@dataclass(frozen=True)
class Target:
    """The grid that everything is brought to, and whether it may be."""

    grid: Grid
    resample: bool

    def fits(self, volume: Volume, path: Path) -> Volume:
        """The volume on the grid: as it is, resampled where that was asked for, else a fault."""
        if volume.grid.is_close(self.grid):
            return volume
        if not self.resample:
            raise DataError(
                "prediction, reference, masks and doses lie on one grid",
                where=str(path),
                got=f"{told(volume.grid)}, the reference {told(self.grid)}",
                remedy="give --resample, which changes the scores, or export it on that grid",
                code="grid-mismatch",
            )
        nearest = volume.modality in (Modality.MASK, Modality.LABELS)
        outside = OUTSIDE_HU if volume.modality is Modality.CT else 0.0
        return resampled(volume, self.grid, outside=outside, nearest=nearest)

    def moves(self, volume: Volume) -> bool:
        """Whether the volume lies elsewhere."""
        return not volume.grid.is_close(self.grid)

    def mask(self, path: Path) -> Mask:
        """Voxels > 0 of a mask file."""
        array = self.fits(read_scan(path, Modality.MASK), path).array
        if array.min() < 0:
            raise DataError(
                "a mask is 0 outside and above 0 inside",
                where=str(path),
                got=f"values from {array.min():g} to {array.max():g}",
                remedy="give a mask, not an image",
                code="mask-negative",
            )
        return np.asarray(array > 0)

    def dose(self, path: Path) -> NDArray[np.float64]:
        """A dose [Gy]: nowhere below 0, and some of it is there."""
        array = self.fits(read_scan(path, Modality.DOSE), path).array.astype(np.float64)
        if array.min() < 0 or array.max() <= 0:
            raise DataError(
                "a dose is in Gy: nowhere below 0, somewhere above",
                where=str(path),
                got=f"{array.min():g} to {array.max():g}",
                remedy="give an RTDOSE file or an image in Gy, not a CT",
                code="not-a-dose",
            )
        return array

    def body(self, path: Path | None) -> Mask:
        """The mask to score in: all voxels without a file; an empty one is a fault."""
        if path is None:
            return np.ones(self.grid.shape, bool)
        inside = self.mask(path)
        if not inside.any():
            raise DataError(
                "the mask holds at least one voxel of the reference",
                where=str(path),
                got="an empty mask",
                remedy="check that the mask belongs to this scan",
                code="mask-empty",
            )
        return inside


def told(grid: Grid) -> str:
    """A grid in words."""
    spacing = " x ".join(f"{v:g}" for v in grid.spacing_mm)
    origin = ", ".join(f"{v:g}" for v in grid.origin_mm)
    return f"{grid.shape} of {spacing} mm from ({origin})"


def require_hu(values: NDArray[Any], path: Path) -> None:
    """Raise unless the values inside the mask can be HU of a body.

    They are spread out, fat and gas lie below 0, and most lie in the range of a CT.
    """
    low, high = float(values.min()), float(values.max())
    moderate = float(np.mean((values >= -1100) & (values <= 3071)))
    if high - low > LEAST_SPREAD_HU and low < 0 and moderate >= LEAST_MODERATE_SHARE:
        return
    raise DataError(
        "a CT is in Hounsfield units: inside the body it has values below 0, a spread of more "
        f"than {LEAST_SPREAD_HU:g} and mostly lies between -1024 and 3071",
        where=str(path),
        got=f"{low:g} to {high:g} inside the mask",
        remedy="apply the rescale slope and intercept, or undo the network's normalisation",
        code="not-hu",
    )
