"""Object stores fail for minutes and come back: wait for them, but never for a refusal."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from data.faults import MachineFault

T = TypeVar("T")

PATIENCE_S = 600.0
"""An outage that is survived; s3fs alone gives up after about 40 s."""

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
    MachineFault
        ``storage-denied`` at once when the store refuses, ``storage-away`` when it stays away.
    FileNotFoundError
        As the store says it.
    """
    deadline_s = time.monotonic() + (PATIENCE_S if patience_s is None else patience_s)
    wait_s = 0.5
    while True:
        try:
            return call()
        except FileNotFoundError:
            raise
        except PermissionError as error:
            raise MachineFault(
                "the object store lets us in",
                where=where,
                got=" ".join(str(error).split()) or "403",
                remedy="credentials, the bucket's policy, or the clock: synthct doctor",
                code="storage-denied",
            ) from error
        except Exception as error:
            if not _passes(error):
                raise
            if time.monotonic() + wait_s > deadline_s:
                raise MachineFault(
                    "the object store answers",
                    where=where,
                    got=f"{type(error).__name__}: {' '.join(str(error).split())[:200]}",
                    remedy="finished units are kept; run the same command again when it is back",
                    code="storage-away",
                ) from error
        time.sleep(wait_s)
        wait_s = min(2 * wait_s, _LONGEST_WAIT_S)


def _passes(error: Exception) -> bool:
    """Network and server errors of s3fs, botocore and aiohttp, told by where they come from."""
    room = type(error).__module__.split(".")[0]
    return isinstance(error, OSError) or room in {"botocore", "aiobotocore", "aiohttp", "asyncio"}
