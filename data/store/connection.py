"""Connections to object stores: our own retries only, and safe object names."""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from synthct.data.errors import DataError, MachineError, UsageError
from synthct.data.store.outage import WrongBytes, call_with_retries

CONNECT_S, ANSWER_S = 5.0, 30.0
"""Timeouts of a request, for the connection and for the next bytes [s]."""

_LONGEST_PART = 255

_MD5 = re.compile(r'"?([0-9a-f]{32})"?')


def connect(url: str, *, asynchronous: bool = False) -> tuple[Any, str]:
    """File system and path of a URL (``file://``, ``s3://``, ``memory://``).

    Retries are made by :mod:`synthct.data.store.outage`; those of botocore and s3fs, which also
    repeat refused requests, are turned off.
    """
    import fsspec  # not in the base install, which looks at folders only

    if not url.startswith("s3://"):
        system, path = fsspec.url_to_fs(url)
        return system, str(path).rstrip("/")
    limits = {
        "retries": {"total_max_attempts": 1},
        "connect_timeout": CONNECT_S,
        "read_timeout": ANSWER_S,
    }
    # A session of its own: s3fs hands out the same one for the same options.
    system, path = fsspec.url_to_fs(url, config_kwargs=limits, asynchronous=asynchronous)
    if not str(path).split("/")[0]:
        raise UsageError(
            "the address names no bucket",
            where=url,
            rule="an address on S3 is s3://BUCKET or s3://BUCKET/PREFIX",
            code="no-bucket",
        )
    system.retries = 1
    return system, str(path).rstrip("/")


def require_store(url: str) -> None:
    """Raise if the address answers for an object that nobody made.

    A wrong port can be that of a console or of a login, whose page answers every request with
    success: nothing would be stored, and nothing would ever arrive.

    Raises
    ------
    MachineError
        ``storage-refused``.
    """
    system, path = connect(url)

    def once() -> bool:
        system.invalidate_cache()
        try:
            system.info(f"{path}/{secrets.token_hex(16)}")
        except FileNotFoundError:
            return False
        return True

    if call_with_retries(once, where=url):
        raise MachineError(
            "the address answers for an object that does not exist",
            where=url,
            rule="an object store answers with 404 for a name that it does not hold",
            remedy="correct the address (AWS_ENDPOINT_URL): it may be that of a console or a login",
            code="storage-refused",
        )


def download(system: Any, path: str, target: Path, listed: Mapping[str, Any]) -> None:
    """Copy an object to ``target``; its bytes are those of the entry that was listed.

    Raises
    ------
    WrongBytes
        The object was overwritten since the listing or during the download.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    system.get_file(path, str(target))
    if target.stat().st_size != int(listed["size"]):
        raise WrongBytes(f"{target.stat().st_size} of {listed['size']} bytes were received")
    tag = plain_md5(listed.get("ETag"))
    if tag is not None:
        with target.open("rb") as file:
            if hashlib.file_digest(file, _md5).hexdigest() == tag:
                return
        raise WrongBytes("the bytes differ from the listed ones")
    # The tag of an upload in parts is no hash of the bytes; but it changes with the object.
    system.invalidate_cache()
    if version(system.info(path)) != version(listed):
        raise WrongBytes("the object was overwritten while it was read")


def version(entry: Mapping[str, Any]) -> str:
    """Size, ETag and date of an object, which change whenever its bytes do."""
    return f"{entry['size']}\0{entry.get('ETag', '')}\0{entry.get('LastModified', '')}"


def plain_md5(tag: object) -> str | None:
    """The MD5 that an ETag states; None where it states none."""
    found = _MD5.fullmatch(str(tag or ""))
    return found.group(1) if found else None


def _md5() -> Any:
    return hashlib.md5(usedforsecurity=False)


def object_path(name: str, *, where: str) -> Path:
    """The relative path of an object below its prefix, safe to join to a folder of ours.

    Object stores allow any text as a name: ``../../.bashrc``, ``/etc/passwd``, ``a//b``. Only names
    that are also valid relative paths inside the folder are accepted.

    Parameters
    ----------
    name
        The object's name below the prefix.
    where
        Place in the error: the name itself may identify a patient.

    Raises
    ------
    DataError
        ``object-name``.
    """
    parts = name.split("/")
    if all(_is_plain(part) for part in parts):
        return Path(*parts)
    raise DataError(
        "an object's name leads out of its folder or is not a file name",
        where=where,
        rule="each part of an object's name is the name of a file: not empty, `.` or `..`, at most "
        f"{_LONGEST_PART} bytes, no control characters",
        remedy="rename the object, or remove it if it is not yours",
        code="object-name",
    )


def _is_plain(part: str) -> bool:
    if part in ("", ".", "..") or any(ord(sign) < 32 or ord(sign) == 127 for sign in part):
        return False
    try:
        return len(part.encode()) <= _LONGEST_PART
    except UnicodeEncodeError:  # half a surrogate pair
        return False
