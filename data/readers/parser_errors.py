"""What a damaged header does to a parser, told as a fault of the data."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from synthct.data.errors import DataError, SynthctError


@contextlib.contextmanager
def faults_only(where: str) -> Iterator[None]:
    """Turn any error but faults and errors of the machine into a :class:`DataError`.

    A flipped bit can surprise a parser in more ways than a reader can name one by one.
    """
    try:
        yield
    except (
        SynthctError,
        OSError,
        ImportError,
    ):  # a package that is missing is no fault of the scan
        raise
    except Exception as error:
        raise DataError(
            "a scan is readable",
            where=where,
            problem=f"the file cannot be parsed ({type(error).__name__}: {error})",
            remedy="copy or export it again",
            code="unreadable",
        ) from error
