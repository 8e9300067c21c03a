"""Checks that all readers share: declared sizes, misspelt header fields, errors of parsers."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Collection, Iterator, Sequence

import numpy as np

from synthct.data.errors import DataError, SynthctError, nearest

MAX_BYTES = 1 << 30
"""Largest decoded volume [bytes]: 2048 slices of 512 x 512 16-bit pixels."""

MAX_SIDE = 1 << 14
"""Largest number of voxels along one axis."""

MIN_SLICES = 2
"""One slice has no spacing: it is an image, not a scan."""


def checked_shape(shape: Sequence[int], dtype: np.dtype[np.generic], where: str) -> tuple[int, ...]:
    """``shape`` (Z, Y, X) of whole numbers; one that no scan can have, or too large, raises.

    Raises
    ------
    DataError
        ``not-3d`` or ``too-large``.
    """
    sizes = tuple(int(size) for size in shape)
    if len(sizes) != 3 or min(sizes) < 1 or sizes[0] < MIN_SLICES:
        raise DataError(
            f"the image has {' x '.join(map(str, reversed(sizes))) or 'no'} voxels",
            where=where,
            rule="a scan has three axes and at least two slices",
            remedy="give the whole volume, not a single image",
            code="not-3d",
        )
    if max(sizes) > MAX_SIDE or math.prod(sizes) * dtype.itemsize > MAX_BYTES:
        raise DataError(
            f"the header declares {' x '.join(map(str, reversed(sizes)))} voxels of {dtype}",
            where=where,
            rule=f"a scan has at most {MAX_SIDE} voxels a side and {MAX_BYTES >> 20} MiB of voxels",
            remedy="crop or resample the scan, or check the header",
            code="too-large",
        )
    return sizes


_CLOSE = 0.8
"""Similarity above which a name counts as a misspelling of another (difflib's ratio)."""


def near_miss(names: Collection[str], matters: Collection[str]) -> str | None:
    """The first unknown name that resembles an absent known one; None where there is none.

    A damaged field name must not be replaced by a default. Only absent fields are compared, so a
    format's other fields and those that programs add (``PatientID``) pass.
    """
    absent = {name.lower() for name in matters if name not in names}
    for name in names:
        if name not in matters and nearest(name, absent, closeness=_CLOSE):
            return name
    return None


@contextlib.contextmanager
def as_data_errors(where: str) -> Iterator[None]:
    """Turn any error but our own and errors of the machine into a :class:`DataError`.

    A flipped bit can make a parser fail in more ways than a reader can list.
    """
    try:
        yield
    except (SynthctError, ImportError):  # a missing package is not an error of the data
        raise
    except Exception as error:
        if is_of_the_machine(error):
            raise
        raise DataError(
            f"the file cannot be parsed ({type(error).__name__}: {error})",
            where=where,
            rule="a scan is readable",
            remedy="copy or export it again",
            code="unreadable",
        ) from error


def is_of_the_machine(error: Exception) -> bool:
    """Whether the system failed to read. Decoders raise ``OSError`` too, without its number."""
    return isinstance(error, OSError) and error.errno is not None
