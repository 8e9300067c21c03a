"""Retries of object store requests: outages are waited for, refusals raise at once."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from synthct.data.errors import MachineError, SynthctError

T = TypeVar("T")

PATIENCE_S = 900.0
"""Longest outage that is waited for [s]: ten minutes, and a margin for the pause between attempts.
s3fs alone gives up after about 40 s."""

_LONGEST_WAIT_S = 30.0
_SILENT_WAIT_S = 3.0
"""A longer pause between two attempts is logged: a wrong address looks like an outage."""

_LOG = logging.getLogger("synthct.storage")

_TRANSIENT_STATUS = {307, 408, 409, 412, 416, 425, 429}
"""Of 3xx and 4xx: redirected or throttled for now, or the object changed meanwhile."""

_PERMANENT_STATUS = {501, 505, 507, 511}
"""Of 5xx: not implemented, no room, or a login at a proxy."""

_TRANSIENT_CODE = re.compile(
    r"Timeout|SlowDown|Throttl|TooMany|BadDigest|Incomplete|SHA256Mismatch"
)
_CODE_FULL = re.compile(r"Quota|StorageFull|InsufficientStorage|AccountProblem")
_CODE_DENIED = re.compile(r"Denied|Token|Credential|Signature|AccessKey|TimeTooSkewed|NotSignedUp")

_OF_NETWORK = {
    "HTTPClientError", "ConnectionError", "IncompleteReadError", "ChecksumError", "ClientError",
}  # fmt: skip

_NETWORK_PACKAGES = {"botocore", "aiobotocore", "aiohttp", "asyncio"}


SAME_ANSWER = 3
"""This many wrong answers are not a transmission error: the stored bytes are wrong."""


class WrongBytes(ConnectionError):
    """An answer with unexpected bytes; the request is repeated."""


def call_with_retries(
    call: Callable[[], T],
    *,
    where: str,
    patience_s: float | None = None,
    same_answer: int | None = None,
) -> T:
    """The value of ``call``, repeated while the store does not answer.

    Parameters
    ----------
    call
        One request, or several that are idempotent.
    where
        URL, for the error.
    patience_s
        Seconds; None: :data:`PATIENCE_S`.
    same_answer
        After so many wrong answers :class:`WrongBytes` is raised; None: retried like an outage.

    Raises
    ------
    MachineError
        At once when the store refuses: ``storage-denied`` (credentials, policy, clock),
        ``storage-full``, ``storage-refused`` (region, bucket name, address); ``storage-away`` when
        it does not answer within the retry time.
    FileNotFoundError
        The object does not exist.
    """
    deadline_s = time.monotonic() + (PATIENCE_S if patience_s is None else patience_s)
    wait_s, wrong = 0.5, 0
    while True:
        try:
            return call()
        except Exception as error:
            wrong += isinstance(error, WrongBytes)
            if same_answer is not None and wrong >= same_answer:
                raise
            raise_refusal(error, where=where)
            if time.monotonic() + wait_s > deadline_s:
                raise unreachable(error, where=where) from error
        time.sleep(wait_s)
        wait_s = next_wait_s(wait_s, where)


def no_bucket(where: str) -> MachineError:
    """The error of a bucket that does not exist."""
    return MachineError(
        "the bucket does not exist (404)",
        where=where,
        remedy="create it, or correct the URL",
        code="storage-missing",
    )


def next_wait_s(wait_s: float, where: str) -> float:
    """The pause after a pause of ``wait_s`` [s]; logs once that the store does not answer."""
    if wait_s < _SILENT_WAIT_S <= 2 * wait_s:
        _LOG.warning("%s does not answer: waiting for it, up to %g minutes", where, PATIENCE_S / 60)
    return min(2 * wait_s, _LONGEST_WAIT_S)


def raise_refusal(error: Exception, *, where: str) -> None:
    """Raise a permanent error; return where a retry may help."""
    if isinstance(error, SynthctError | FileNotFoundError):
        raise error
    if refused := _refusal(error, where):
        raise refused from error
    if not _is_transient(error):
        raise error


def unreachable(error: Exception, *, where: str) -> MachineError:
    """The error of a store that did not answer for too long."""
    return MachineError(
        f"the object store did not answer ({type(error).__name__}: {_one_line(error)[:200]})",
        where=where,
        remedy="finished results are kept; run the same command again when the store is back",
        code="storage-away",
    )


def _refusal(error: Exception, where: str) -> MachineError | None:
    """The error of a permanent answer or a wrong local setting; None for others."""
    code, status = _answer(error)
    answer = ": ".join(part for part in (code or str(status or ""), _one_line(error)[:200]) if part)
    if _CODE_FULL.search(code) or status == 507:
        return MachineError(
            f"the object store has no space left ({answer})",
            where=where,
            remedy="raise the quota or free space, and run the same command again",
            code="storage-full",
        )
    # s3fs turns other refusals into PermissionError too: the status comes first.
    denied = status in (401, 403) if status else isinstance(error, PermissionError)
    if denied or _CODE_DENIED.search(code) or _lacks_credentials(error):
        return MachineError(
            f"the object store refused access ({answer or 403})",
            where=where,
            remedy="correct the credentials, the bucket's policy, or the clock: synthct doctor",
            code="storage-denied",
        )
    if _is_permanent(code, status) or _misconfigured(error):
        return MachineError(
            f"the object store refused the request ({answer})",
            where=where,
            remedy="correct the bucket's name, the region (AWS_DEFAULT_REGION), the address "
            "(AWS_ENDPOINT_URL) or a session token that has expired",
            code="storage-refused",
        )
    return None


def _answer(error: BaseException) -> tuple[str, int | None]:
    """(code, HTTP status) of the server's answer behind an error, as botocore kept it."""
    for each in _chain(error):
        response = getattr(each, "response", None)
        if isinstance(response, dict):
            details: dict[str, Any] = response.get("Error") or {}
            status = (response.get("ResponseMetadata") or {}).get("HTTPStatusCode")
            code = str(details.get("Code") or "")
            # The answer to a HEAD has no body: botocore gives the status for the code.
            return ("" if code.isdigit() else code), int(status or (code.isdigit() and code) or 0)
    return "", None


def _is_permanent(code: str, status: int | None) -> bool:
    if not status or _TRANSIENT_CODE.search(code) or status in _TRANSIENT_STATUS:
        return False
    return 300 <= status < 500 or status in _PERMANENT_STATUS


def _lacks_credentials(error: Exception) -> bool:
    """Missing, incomplete or expired credentials, which botocore reports before any request."""
    named = {type(each).__name__ for each in _chain(error) if _package(each) in _NETWORK_PACKAGES}
    return any(re.search(r"Credential|SSO|Token|ProfileNotFound", name) for name in named)


def _misconfigured(error: Exception) -> bool:
    """Errors of local settings: wrong addresses and invalid certificates, not of the network."""
    if type(error) is ValueError and "endpoint" in str(error):
        return True
    if any("SSL" in type(each).__name__ or "Cert" in type(each).__name__ for each in _chain(error)):
        return True
    return _package(error) == "botocore" and not _is_of_network(error)


def _is_of_network(error: Exception) -> bool:
    names = {kind.__name__ for kind in type(error).__mro__}
    # Errors with an answer of the server were classified by it.
    return bool(names & _OF_NETWORK)


def _is_transient(error: Exception) -> bool:
    """Network and server errors of s3fs, botocore and aiohttp, recognised by their package."""
    return isinstance(error, OSError) or _package(error) in _NETWORK_PACKAGES


def _package(error: BaseException) -> str:
    return type(error).__module__.split(".")[0]


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
