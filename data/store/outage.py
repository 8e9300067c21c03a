"""Object stores fail for minutes and come back: wait for them, but never for a refusal."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from synthct.data.errors import MachineError

T = TypeVar("T")

PATIENCE_S = 900.0
"""How long a store may stay away [s]: outages of ten minutes are survived, with room for the
waiting between two attempts. s3fs alone gives up after about 40 s."""

_LONGEST_WAIT_S = 30.0


def survive(call: Callable[[], T], *, where: str, patience_s: float | None = None) -> T:
    """The value of ``call``, tried again while the store is away.

    Parameters
    ----------
    call
        One request, or several that may be made twice.
    where
        URL, for the fault.
    patience_s
        Seconds; None: :data:`PATIENCE_S`.

    Raises
    ------
    MachineError
        ``storage-denied`` at once when the store refuses, ``storage-away`` when it stays away.
    FileNotFoundError
        As the store says it.
    """
    deadline_s = time.monotonic() + (PATIENCE_S if patience_s is None else patience_s)
    wait_s = 0.5
    while True:
        try:
            return call()
        except Exception as error:
            raise_refusal(error, where=where)
            if time.monotonic() + wait_s > deadline_s:
                raise away(error, where=where) from error
        time.sleep(wait_s)
        wait_s = min(2 * wait_s, _LONGEST_WAIT_S)


def raise_refusal(error: Exception, *, where: str) -> None:
    """Raise what waiting does not help against; return where the error may pass by itself."""
    if isinstance(error, PermissionError):
        raise MachineError(
            "the object store lets us in",
            where=where,
            got=" ".join(str(error).split()) or "403",
            remedy="credentials, the bucket's policy, or the clock: synthct doctor",
            code="storage-denied",
        ) from error
    if isinstance(error, FileNotFoundError) or not _passes(error):
        raise error


def away(error: Exception, *, where: str) -> MachineError:
    """The fault of a store that stayed away too long."""
    return MachineError(
        "the object store answers",
        where=where,
        got=f"{type(error).__name__}: {' '.join(str(error).split())[:200]}",
        remedy="what is finished is kept; run the same command again when it is back",
        code="storage-away",
    )


def _passes(error: Exception) -> bool:
    """Network and server errors of s3fs, botocore and aiohttp, told by where they come from."""
    room = type(error).__module__.split(".")[0]
    return isinstance(error, OSError) or room in {"botocore", "aiobotocore", "aiohttp", "asyncio"}
