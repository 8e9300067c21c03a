"""Reading the files to be scored onto the reference's grid, and checking them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synthct.data.errors import DataError, UsageError, mask_empty
from synthct.data.files import content_hash
from synthct.data.itk import resample as resampled
from synthct.data.orientation import reordered_onto
from synthct.data.readers import read_scan
from synthct.data.volume import Grid, Modality, Volume
from synthct.tasks.evaluation.pair import Mask
from synthct.tasks.evaluation.profiles import OUTSIDE_HU

MIN_SPREAD_HU = 20.0
"""HU inside a body span more than this; images scaled to [0, 1] or z-scores do not."""

MIN_AIR_SHARE = 0.02
"""Smallest share of air in an image that shows the surroundings of a body."""

MIN_MODERATE_SHARE = 0.5
"""At least this share of a body's voxels lies between -1024 and 3071 HU, unless the scan was
scaled twice or its intercept was lost."""

SAME_PLACE = 0.01
"""Fraction of a voxel within which two grids count as equal: headers round (NIfTI to 32 bits,
DICOM to 16 characters), and a hundredth of a voxel changes no score."""


@dataclass(frozen=True)
class Target:
    """The reference's grid, and whether files on other grids may be resampled onto it."""

    grid: Grid
    resample: bool

    def fits(self, volume: Volume, path: Path) -> Volume:
        """The volume on the grid: with its voxels reordered, or resampled if that is allowed.

        The same voxels with axes permuted or flipped are only reordered.

        Raises
        ------
        DataError
            The volume lies on another grid, and ``resample`` is off.
        """
        same = self._in_order(volume)
        if same is not None:
            return same
        if not self.resample:
            raise DataError(
                f"the file has the grid {describe(volume.grid)}, the reference has "
                f"{describe(self.grid)}",
                rule="prediction, reference, masks and doses lie on one grid",
                where=str(path),
                remedy="give --resample, which changes the scores, or export it on that grid",
                code="grid-mismatch",
            )
        nearest = volume.modality in (Modality.MASK, Modality.LABELS)
        outside = OUTSIDE_HU if volume.modality is Modality.CT else 0.0
        return resampled(volume, self.grid, outside=outside, nearest=nearest)

    def moves(self, volume: Volume) -> bool:
        """Whether the volume has to be resampled."""
        return self._in_order(volume) is None

    def unseen(self, volume: Volume, inside: Mask) -> float:
        """Share of the mask that the volume does not cover [1]."""
        if not self.moves(volume):
            return 0.0
        field = volume.with_array(np.ones(volume.grid.shape, np.uint8), Modality.MASK)
        seen = resampled(field, self.grid, outside=0, nearest=True).array > 0
        return float(np.count_nonzero(inside & ~seen) / np.count_nonzero(inside))

    def cropped(self, volume: Volume, path: Path, inside: Mask) -> list[str]:
        """Warnings about parts of the mask that a resampled file does not cover."""
        share = self.unseen(volume, inside)
        if not share:
            return []
        value = "air (-1024 HU)" if volume.modality is Modality.CT else "0"
        return [
            f"{path.name}: {max(share, 0.0001):.2%} of the scored voxels lie outside it and count "
            f"as {value}: crop the mask to it, or score a file that covers the mask"
        ]

    def _in_order(self, volume: Volume) -> Volume | None:
        return reordered_onto(volume, self.grid, SAME_PLACE * min(self.grid.spacing_mm))

    def mask(self, path: Path) -> Mask:
        """Voxels > 0 of a mask file, (Z, Y, X).

        Raises
        ------
        DataError
            The file has negative values, or another grid.
        """
        array = self.fits(read_scan(path, Modality.MASK), path).array
        if array.min() < 0:
            raise DataError(
                f"the mask has negative values, they range from {array.min():g} to {array.max():g}",
                rule="a mask is 0 outside and above 0 inside",
                where=str(path),
                remedy="give a mask, not an image",
                code="mask-negative",
            )
        return np.asarray(array > 0)

    def dose(self, volume: Volume, path: Path) -> NDArray[np.float64]:
        """A dose distribution (Z, Y, X) [Gy].

        Raises
        ------
        DataError
            A value is negative, or none is positive.
        """
        array = self.fits(volume, path).array.astype(np.float64)
        if array.min() < 0 or array.max() <= 0:
            raise DataError(
                f"the values range from {array.min():g} to {array.max():g}",
                rule="a dose in Gy is never negative, and positive somewhere",
                where=str(path),
                remedy="give an RTDOSE file or an image in Gy, not a CT",
                code="not-a-dose",
            )
        return array

    def body(self, path: Path | None) -> Mask:
        """The mask to score in, (Z, Y, X): all voxels without a file.

        Raises
        ------
        DataError
            The mask is empty.
        """
        if path is None:
            return np.ones(self.grid.shape, bool)
        inside = self.mask(path)
        if not inside.any():
            raise mask_empty("the mask", "the reference", where=str(path))
        return inside


def identity(path: Path) -> dict[str, str]:
    """Name and content hash of a file or folder; its path is not part of a result."""
    return {"name": path.name, "sha256": content_hash(path)}


CURVES = ("electron_density", "stopping_power")


def read_curves(given: Path | Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The clinic's curves from a JSON file or a mapping, as tuples of (HU, value)."""
    if given is None:
        return None
    try:
        curves = given if isinstance(given, Mapping) else dict(json.loads(given.read_text()))
        return {name: tuple(map(tuple, curves[name])) for name in CURVES if name in curves}
    except (OSError, ValueError, TypeError) as error:
        raise UsageError(
            f"the curves cannot be read ({error})",
            rule="curves are lists of [HU, value] pairs by name",
            where="curves" if isinstance(given, Mapping) else str(given),
            remedy='write {"stopping_power": [[-1000, 0.001], [0, 1.0], ...]}',
            code="curves-unreadable",
        ) from error


def describe(grid: Grid) -> str:
    """A grid as text: shape, spacing and origin."""
    spacing = " x ".join(f"{v:g}" for v in grid.spacing_mm)
    origin = ", ".join(f"{v:g}" for v in grid.origin_mm)
    return f"{grid.shape} of {spacing} mm from ({origin})"


def require_hu(values: NDArray[Any], path: Path, image: NDArray[Any] | None = None) -> None:
    """Raise unless the values inside the mask can be HU of a body.

    HU of a body are spread out, fat and gas lie below 0, and most values lie in the range of a CT.
    A mask of soft tissue or of bone alone contains neither fat nor gas; then the rest of ``image``
    decides: it contains air at -1000 HU, and the mask is tissue near water, or the body is.

    Raises
    ------
    DataError
        The values cannot be HU.
    """
    low, high = float(values.min()), float(values.max())
    moderate = float(np.mean((values >= -1100) & (values <= 3071)))
    if high - low > MIN_SPREAD_HU and low < 0 and moderate >= MIN_MODERATE_SHARE:
        return
    if image is not None and moderate >= MIN_MODERATE_SHARE and _is_one_tissue(values, image):
        return
    raise DataError(
        f"inside the mask the values range from {low:g} to {high:g}",
        rule="a CT is in Hounsfield units: inside the body some values are below 0, they span more "
        f"than {MIN_SPREAD_HU:g}, and most are between -1024 and 3071; a mask of soft tissue "
        "or bone alone may be used if the image shows the rest of the body, and air at -1000",
        where=str(path),
        remedy="apply the rescale slope and intercept, or undo the network's normalisation",
        code="not-hu",
    )


def _is_one_tissue(values: NDArray[Any], image: NDArray[Any]) -> bool:
    """Air at -1000 HU in a part of the image, and tissue near water in the mask or the body."""
    if np.mean((image > -1100) & (image < -900)) < MIN_AIR_SHARE:
        return False
    low, middle, high = (float(v) for v in np.percentile(values, (1, 50, 99)))
    if -150 <= middle <= 150 and low >= -200 and high <= 400 and high - low > 2:
        return True
    body = image[image > -900]
    low, middle = (float(v) for v in np.percentile(body, (1, 50)))
    return low < 0 and -150 <= middle <= 150 and bool(np.any(values != values[0]))
