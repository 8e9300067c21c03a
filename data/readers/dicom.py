"""One DICOM series of a folder or zip as a volume: CT and CBCT in HU, MR as stored."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synthct.data.errors import DataError
from synthct.data.readers.entries import entries
from synthct.data.readers.header_facts import Remark
from synthct.data.readers.payload import kind_for
from synthct.data.readers.pick import picked
from synthct.data.readers.pixels import frame_pixels, stored_pixels, whole_dataset
from synthct.data.readers.process.memory import empty
from synthct.data.readers.series import Series, find_series
from synthct.data.readers.slice import Slice, broken_dicom
from synthct.data.readers.slices import Stack, stack
from synthct.data.volume import Modality, Volume

__all__ = ["one_series", "read_series", "stored_pixels", "whole_dataset"]


def one_series(
    source: Path, selector: str = "", modality: Modality | None = None, *,
    wanted: Collection[Modality] = (),
) -> Series:  # fmt: skip
    """The one volume of a folder or zip (:func:`synthct.data.readers.pick.picked`).

    Parameters
    ----------
    selector
        SeriesInstanceUID, number or description of the series, where there are several.
    modality
        Requested modality: DOSE selects a dose, anything else the images.
    wanted
        Preferred modalities, where the source holds volumes of several.
    """
    likely = {Modality.DOSE} if modality is Modality.DOSE else set(wanted)
    return picked(find_series(entries(source), selector), source, selector, likely)


def read_series(series: Series, where: str, modality: Modality | None = None) -> Volume:
    """Sort, check and decode the slices of a series.

    ``modality`` is the expected one: CBCT is accepted for a CT of an unknown model, any other
    disagreement raises.
    """
    return read_stack(series, stack(series, where), where, modality)[0]


def read_stack(
    series: Series, pile: Stack, where: str, modality: Modality | None = None
) -> tuple[Volume, tuple[Remark, ...]]:
    """:func:`read_series` of slices that :func:`stack` sorted, with all remarks on them."""
    kind = _agreed(series.modality, modality, where)
    lines = [_rescale(one, kind) for one in pile.slices]
    padded: list[int] = []
    volume = Volume(_values(pile.slices, lines, pile.grid.shape, padded), pile.grid, kind)
    if not any(padded):
        return volume, pile.remarks
    share = sum(padded) / volume.array.size
    sentence = (
        f"{share:.1%} of the voxels are padding according to the header and became {_FILLED[kind]}"
    )
    return volume, (*pile.remarks, Remark("pixel-padding", sentence, repaired=True))


_FILLED = {Modality.MR: "0", Modality.CT: "air", Modality.CBCT: "air"}


def _values(
    slices: Sequence[Slice],
    lines: Sequence[tuple[float, float]],
    shape: tuple[int, int, int],
    padded: list[int],
) -> NDArray[Any]:
    """Slices after their rescale: whole numbers in the smallest type, others in float32."""
    stored: NDArray[Any] | None = None
    ends: list[float] = []
    for number, (pixels, (slope, intercept)) in enumerate(
        zip(frame_pixels(slices, padded), lines, strict=True)
    ):
        if stored is None:
            stored = empty(shape, pixels.dtype)
        if pixels.dtype != stored.dtype:
            raise broken_dicom(
                slices[number].entry,
                f"this slice has {pixels.dtype} pixels, unlike the others",
                "bad-tag",
            )
        stored[number] = pixels
        ends += [slope * float(end) + intercept for end in (pixels.min(), pixels.max())]
    assert stored is not None
    whole = all(part.is_integer() for line in lines for part in line)
    if not whole:
        return _scaled(stored, lines, np.dtype(np.float32))
    numbers = [*ends, *(part for line in lines for part in line)]
    return _scaled(stored, lines, np.dtype(kind_for(int(min(numbers)), int(max(numbers)))))


def _scaled(
    stored: NDArray[Any], lines: Sequence[tuple[float, float]], dtype: np.dtype[Any]
) -> NDArray[Any]:
    if dtype.kind == "f":
        values = empty(stored.shape, dtype)
        for number, (slope, intercept) in enumerate(lines):
            values[number] = stored[number].astype(np.float64) * slope + intercept
        return values
    # Whole-number arithmetic wraps around, so it is exact wherever the result fits the type: a
    # 16-bit pixel that becomes a 16-bit HU needs no second array.
    same_size = stored.dtype.itemsize == dtype.itemsize
    values = stored.view(dtype) if same_size else empty(stored.shape, dtype)
    for number, (slope, intercept) in enumerate(lines):
        plane = stored[number].astype(dtype, copy=False)
        np.multiply(plane, dtype.type(slope), out=values[number])
        values[number] += dtype.type(intercept)
    return values


def _rescale(one: Slice, modality: Modality) -> tuple[float, float]:
    slope, intercept = one.header.get("RescaleSlope"), one.header.get("RescaleIntercept")
    if modality is not Modality.MR and (slope is None or intercept is None):
        raise broken_dicom(
            one.entry, "the CT has no RescaleSlope or RescaleIntercept", "no-rescale"
        )
    slope = 1.0 if slope is None else float(slope)
    intercept = 0.0 if intercept is None else float(intercept)
    if slope == 0 or not np.isfinite([slope, intercept]).all():
        raise broken_dicom(
            one.entry, f"the rescale {slope} x + {intercept} is not usable", "bad-tag"
        )
    return slope, intercept


def _agreed(stated: Modality | None, wanted: Modality | None, where: str) -> Modality:
    if stated is None:
        raise DataError(
            "the series is neither CT nor MR",
            rule="a DICOM scan is CT or MR",
            where=where,
            remedy="give the folder of the CT or MR images",
            code="no-series",
        )
    if wanted is None or wanted is stated:
        return stated
    if (stated, wanted) == (Modality.CT, Modality.CBCT):
        return wanted
    raise DataError(
        f"the series is {stated} where {wanted} was expected",
        where=where,
        rule="the scan has the modality it was given as",
        remedy="check which scan is which",
        code="wrong-modality",
    )
