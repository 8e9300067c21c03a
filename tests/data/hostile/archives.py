"""Zips."""

from __future__ import annotations

import struct
import zipfile

from tests.data.hostile.base import collection, series

BUILDERS, hostile = collection()


def _zip(folder, extra=(), compression=zipfile.ZIP_DEFLATED):
    path = folder / "scan.zip"
    with zipfile.ZipFile(path, "w", compression) as archive:
        for file in series(folder, "files"):
            archive.write(file, f"study/{file.name}")
        for name, data in extra:
            archive.writestr(name, data)
    return path


def _named(name):
    return lambda folder: _zip(folder, [(name, b"x")])


BUILDERS |= {
    "a_name_above": _named("../../outside.dcm"),
    "a_name_above_in_the_middle": _named("a/../../../outside.dcm"),
    "an_absolute_name": _named("/tmp/outside.dcm"),
    "a_name_of_windows": _named("..\\..\\outside.dcm"),
    "a_drive": _named("c:outside.dcm"),
}


@hostile
def a_link(folder):
    link = zipfile.ZipInfo("link.dcm")
    link.external_attr = 0o120777 << 16
    return _zip(folder, [(link, "../canary.raw")])


@hostile
def a_bomb(folder):
    return _zip(folder, [("big.dcm", bytes(1 << 28))])


@hostile
def a_bomb_that_lies_about_its_size(folder):
    path = _zip(folder, [("big.dcm", bytes(128) + b"DICM" + bytes(1 << 27))])
    data = bytearray(path.read_bytes())
    entry = data.rindex(b"PK\x01\x02")
    struct.pack_into("<I", data, entry + 24, 4096)
    path.write_bytes(bytes(data))
    return path


def _repeated(path, count):
    """The last member of an archive ``count`` times in its directory, all at the same bytes."""
    data = path.read_bytes()
    first, end = data.index(b"PK\x01\x02"), data.rindex(b"PK\x05\x06")
    last = data.rindex(b"PK\x01\x02", 0, end)
    names = [f"k{number:06d}.dcm".encode() for number in range(count)]
    directory = b"".join(data[last:end].replace(b"kernel0.dcm", name) for name in names)
    tail = bytearray(data[end:])
    struct.pack_into("<2H2I", tail, 8, *[min(count, 0xFFFF)] * 2, len(directory), first)
    path.write_bytes(data[:first] + directory + bytes(tail))
    return path


@hostile
def many_members_at_one_place(folder):
    return _repeated(_zip(folder, [("kernel0.dcm", bytes(1 << 24))]), 60_000)


@hostile
def a_hundred_thousand_members(folder):
    return _repeated(_zip(folder, [("kernel0.dcm", b"")]), 100_001)


@hostile
def a_password(folder):
    path = _zip(folder)
    data = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\x01\x02", 8), (b"PK\x03\x04", 6)):
        at = data.index(signature)
        data[at + offset] |= 1
    path.write_bytes(bytes(data))
    return path


@hostile
def one_name_twice(folder):
    return _zip(folder, [("study/0000.dcm", b"x")])


@hostile
def a_zip_in_a_zip(folder):
    inner = _zip(folder)
    path = folder / "outer.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(inner, "inner.zip")
    return path
