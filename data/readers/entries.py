"""The files of a folder or a zip, none outside it; nothing is unpacked to disk."""

from __future__ import annotations

import io
import stat
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from synthct.data.errors import DataError

MAX_ENTRIES = 100_000
MAX_MEMBER_BYTES = 1 << 30
MAX_TOTAL_BYTES = 8 << 30
MAX_RATIO = 1100
"""Deflate cannot exceed 1032 : 1; a member that declares more is a bomb or damaged."""


@dataclass(frozen=True)
class Entry:
    """One file: its name below the source and a way to open it."""

    name: str
    open: Callable[[], BinaryIO] = field(repr=False)
    path: Path | None = None
    """Path on disk; None inside a zip."""


def entries(source: Path) -> list[Entry]:
    """All files below a folder (any nesting), in a zip, or the one file, sorted by name."""
    found, refused = walk(source)
    if refused:
        raise refused[0][1]
    return found


def walk(source: Path) -> tuple[list[Entry], list[tuple[Path, DataError]]]:
    """:func:`entries`, and the links that lead outside, each with its error."""
    if source.is_dir():
        return _folder(source)
    if not source.is_file():
        raise DataError(
            "there is no such file or folder",
            rule="a scan is a file or a folder",
            where=str(source),
            remedy="check the path",
            code="no-file",
        )
    if zipfile.is_zipfile(source):
        return _zip(source), []
    return [Entry(source.name, lambda: source.open("rb"), source)], []


def _folder(root: Path) -> tuple[list[Entry], list[tuple[Path, DataError]]]:
    inside = root.resolve()
    found: list[Entry] = []
    refused: list[tuple[Path, DataError]] = []
    for path in sorted(root.rglob("*")):
        if path.is_symlink() and not path.resolve().is_relative_to(inside):
            refused.append((path, _link(path)))
        elif path.is_file():
            found.append(Entry(path.relative_to(root).as_posix(), _opener(path), path))
        if len(found) + len(refused) > MAX_ENTRIES:
            raise _hostile(
                root, f"the folder holds more than {MAX_ENTRIES} files", "too-many-files"
            )
    return found, refused


def _link(path: Path) -> DataError:
    return DataError(
        "a link leads outside the source",
        where=str(path),
        rule="links in a source lead to files inside it",
        remedy="copy the file into the folder or name its own folder as a source",
        code="link-outside",
    )


def _opener(path: Path) -> Callable[[], BinaryIO]:
    return lambda: path.open("rb")


def _zip(source: Path) -> list[Entry]:
    try:
        with zipfile.ZipFile(source) as archive:
            members = [info for info in archive.infolist() if not info.is_dir()]
    except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
        raise _hostile(source, f"the zip is damaged: {error}", "damaged") from error
    if len(members) > MAX_ENTRIES:
        raise _hostile(source, f"the zip holds {len(members)} files", "too-many-files")
    if sum(info.file_size for info in members) > MAX_TOTAL_BYTES:
        raise _hostile(source, "the zip unpacks to more bytes than a scan has", "too-much-data")
    for info in members:
        _check_member(source, info)
    names = [info.filename for info in members]
    if len(set(names)) != len(names):
        raise _hostile(source, "two files have the same name", "bad-archive")
    return [
        Entry(info.filename, _member_opener(source, info))
        for info in sorted(members, key=lambda info: info.filename)
    ]


def _check_member(source: Path, info: zipfile.ZipInfo) -> None:
    name = PurePosixPath(info.filename.replace("\\", "/"))
    if name.is_absolute() or ".." in name.parts or ":" in info.filename:
        raise _hostile(source, f"the name {info.filename[:80]!r} leads outside", "path-traversal")
    if stat.S_ISLNK(info.external_attr >> 16):
        raise _hostile(source, f"{info.filename[:80]!r} is a link", "link-outside")
    if info.flag_bits & 0x1:
        raise _hostile(source, f"{info.filename[:80]!r} is encrypted", "encrypted")
    declared, packed = info.file_size, info.compress_size
    if declared > MAX_MEMBER_BYTES or declared > MAX_RATIO * max(packed, 1) + 1024:
        raise _hostile(
            source,
            f"a file of {packed} compressed bytes declares {declared} bytes",
            "too-much-data",
        )


def _member_opener(source: Path, info: zipfile.ZipInfo) -> Callable[[], BinaryIO]:
    def opened() -> BinaryIO:
        try:
            with zipfile.ZipFile(source) as archive, archive.open(info) as member:
                # Bounded by the declared size; reading to the end checks the CRC-32.
                data = member.read(info.file_size + 1)
                if member.read(1) or len(data) != info.file_size:
                    raise zipfile.BadZipFile(f"{info.filename} has another size than declared")
        except Exception as error:  # zlib.error, EOFError, BadZipFile, NotImplementedError, ...
            raise _hostile(
                source, f"{info.filename[:80]!r} cannot be unpacked: {error}", "damaged"
            ) from error
        return io.BytesIO(data)

    return opened


def _hostile(source: Path, problem: str, code: str) -> DataError:
    return DataError(
        problem,
        where=str(source),
        rule="an archive is complete and holds plain files with relative names",
        remedy="pack the DICOM series again as a plain zip",
        code=code,
    )
