"""Files of one volume on an object store: retried during outages, every byte verified.

Refusals (403) and missing buckets raise at once with bucket and key; transient errors (503,
resets, slow or short answers) are retried for ten minutes (:mod:`synthct.data.store.outage`), and
wrong bytes are requested again.
"""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from synthct.data.store.connection import connect, plain_md5
from synthct.data.store.outage import SAME_ANSWER, WrongBytes, call_with_retries, no_bucket

T = TypeVar("T")


class Objects:
    """The files below one URL (``file://``, ``s3://``, ``memory://``)."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self.remote = "://" in url and not url.startswith("file://")
        self.system, self.path = connect(self.url)

    def read(self, name: str) -> bytes:
        """The bytes of a file; ``FileNotFoundError`` where it is not there."""
        return self._ask(name, lambda: bytes(self.system.cat_file(self._at(name))))

    def size(self, name: str) -> int | None:
        """Bytes of a file; None where it is not there."""
        try:
            return self._ask(name, lambda: int(self._info(name)["size"]))
        except FileNotFoundError:
            return None

    def fetch(self, name: str, target: Path, sha256: str) -> bool:
        """Copy a file to ``target``; False when it is stored with another hash."""
        target.parent.mkdir(parents=True, exist_ok=True)

        def once() -> None:
            self.system.get_file(self._at(name), str(target))
            _require(target, sha256, f"{self.url}/{name}")

        return self._same_answer(name, once)

    def check(self, name: str, sha256: str) -> bytes | None:
        """The bytes of a small file; None when it is stored with another hash."""
        found = b""

        def once() -> None:
            nonlocal found
            found = self.read(name)
            if hashlib.sha256(found).hexdigest() != sha256:
                raise WrongBytes(f"{self.url}/{name}")

        return found if self._same_answer(name, once) else None

    def store(self, name: str, source: Path) -> None:
        """Copy a file to the store and make sure that its bytes arrived."""

        def once() -> None:
            self.system.put_file(str(source), self._at(name))
            if not self._arrived(name, source):
                raise WrongBytes(f"{self.url}/{name}: the stored bytes differ")

        try:
            self._ask(name, once)
        except FileNotFoundError as error:
            raise no_bucket(f"{self.url}/{name}") from error

    def remove(self, name: str) -> None:
        """Remove a file if it is there."""

        def once() -> None:
            with contextlib.suppress(FileNotFoundError):
                self.system.rm_file(self._at(name))

        self._ask(name, once)

    def names(self) -> list[str]:
        """All files below the URL."""

        def once() -> list[str]:
            self.system.invalidate_cache()
            return sorted(self.system.find(self.path))

        found = self._ask("", once)
        return [name.split(f"{self.path}/", 1)[1] for name in found]

    def facts(self) -> dict[str, tuple[int, float]]:
        """Size [bytes] and age [s] of all files below the URL, by name."""

        def once() -> dict[str, tuple[int, float]]:
            self.system.invalidate_cache()
            found = self.system.find(self.path, detail=True)
            return {
                name.split(f"{self.path}/", 1)[1]: (int(each["size"]), _age_s(each))
                for name, each in sorted(found.items())
            }

        return self._ask("", once)

    def _same_answer(self, name: str, once: Callable[[], None]) -> bool:
        """Whether the right bytes arrived; the same wrong ones several times are what is stored."""
        try:
            call_with_retries(once, where=f"{self.url}/{name}", same_answer=SAME_ANSWER)
        except WrongBytes:
            return False
        return True

    def _arrived(self, name: str, source: Path) -> bool:
        """Compare size and MD5 of the server; without an MD5, read the bytes back."""
        info = self._info(name)
        if int(info["size"]) != source.stat().st_size:
            return False
        data = source.read_bytes()
        if plain_md5(info.get("ETag")) == hashlib.md5(data, usedforsecurity=False).hexdigest():
            return True
        return bytes(self.system.cat_file(self._at(name))) == data

    def _info(self, name: str) -> dict[str, Any]:
        self.system.invalidate_cache()
        return dict(self.system.info(self._at(name)))

    def _at(self, name: str) -> str:
        return f"{self.path}/{name}" if name else self.path

    def _ask(self, name: str, once: Callable[[], T]) -> T:
        return call_with_retries(once, where=f"{self.url}/{name}")


def _age_s(entry: dict[str, Any]) -> float:
    """Seconds since a file was written; 0 (young) where the store gives no date."""
    written = entry.get("LastModified", entry.get("mtime"))
    if written is None:
        return 0.0
    return time.time() - float(getattr(written, "timestamp", lambda: written)())


def _require(file: Path, sha256: str, where: str) -> None:
    with file.open("rb") as opened:
        if hashlib.file_digest(opened, "sha256").hexdigest() != sha256:
            raise WrongBytes(where)
