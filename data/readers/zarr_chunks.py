"""Finds the chunks of a zarr array that were never written; zarr silently reads the fill value.

zarr counts every chunk of an existing shard as written; here the index of the shard is read
(https://zarr-specs.readthedocs.io/en/latest/v3/codecs/sharding-indexed/index.html).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synthct.data.errors import DataError

AIR_HU = -900.0
"""A fill value up to this is air: writers leave out chunks that hold nothing else."""

MAX_CUT_SHARE, MIN_CUT_VOXELS = 0.1, 32
"""Share of the surface along an axis, and voxels, that may lie beside left-out chunks."""

MIN_FILL = 0.1
"""Share of the voxels beside left-out chunks that have the fill value, at least."""

_SLAB = 16

_EMPTY = (1 << 64) - 1
Box = tuple[slice, ...]


def left_out(array: Any) -> list[Box]:
    """The boxes (slices along all axes of the array) of the chunks that were never written."""
    folder = Path(array.store.root) / array.path
    outer, inner = tuple(array.shards or array.chunks), tuple(array.chunks)
    boxes: list[Box] = []
    for place in np.ndindex(*_counts(array.shape, outer)):
        start = tuple(n * size for n, size in zip(place, outer, strict=True))
        file = folder / array.metadata.encode_chunk_key(place)
        if not file.is_file():
            offsets: Iterable[tuple[int, ...]] = _offsets(outer, inner)
        elif array.shards:
            parts = _shard_index(file, array, outer, inner)
            offsets = [offset for offset, part in parts if part == (_EMPTY, _EMPTY)]
        else:
            continue
        for offset in offsets:
            at = tuple(a + b for a, b in zip(start, offset, strict=True))
            if all(a < size for a, size in zip(at, array.shape, strict=True)):
                boxes.append(_box(at, inner, array.shape))
    return boxes


def unreadable_chunk(array: Any, axis: int, low: int) -> str:
    """File of the first chunk that cannot be decoded, of those that begin at ``low`` along an axis.

    Empty where each can be decoded by itself.
    """
    folder, sizes = Path(array.store.root) / array.path, tuple(array.shards or array.chunks)
    counts = _counts(array.shape, sizes)
    counts[axis] = 1
    for place in np.ndindex(*counts):
        place = (*place[:axis], low // sizes[axis], *place[axis + 1 :])
        start = tuple(n * size for n, size in zip(place, sizes, strict=True))
        try:
            array[_box(start, sizes, array.shape)]
        except Exception:  # noqa: BLE001 each codec has its own
            return str(folder / array.metadata.encode_chunk_key(place))
    return ""


def is_background(
    values: NDArray[Any], boxes: list[Box], chunks: tuple[int, ...], *, above: float, fill: float
) -> bool:
    """Whether missing chunks are in the background, judged by the voxels next to them.

    The surface of a body is independent of the planes between chunks: along an axis about one in
    ``chunk size`` surface voxels is at such a plane. Lost chunks cut the body exactly there, so a
    far larger share of its surface is. A writer leaves out chunks that hold nothing but the fill
    value, and a region of one value does not end at the planes between chunks: some voxels
    beside each group of chunks have it too. Beside a chunk lost in the lungs or in noisy air none
    has.

    Parameters
    ----------
    values
        The whole array, chunks that were left out as their fill value.
    boxes, chunks
        The chunks that were left out, and the size of a chunk.
    above
        Voxels higher than this are not background.
    fill
        What chunks that were left out read as.
    """
    if sum(_volume(box) for box in boxes) == values.size:
        return False
    if not all(_filled(values, group, chunks, fill) for group in _groups(boxes, chunks)):
        return False
    for axis, size in enumerate(chunks):
        cut = _cut(values, boxes, axis, size, above)
        most = max(MAX_CUT_SHARE, 3 / size) * _surface(values, axis, above)
        if cut > max(MIN_CUT_VOXELS, most):
            return False
    return True


def _volume(box: Box) -> int:
    return int(np.prod([one.stop - one.start for one in box]))


def _groups(boxes: list[Box], chunks: tuple[int, ...]) -> Iterator[list[Box]]:
    """Left-out chunks that lie beside each other."""
    by_start = {_start(box): box for box in boxes}
    while by_start:
        group: list[Box] = []
        found = [by_start.popitem()[1]]
        while found:
            group.append(box := found.pop())
            for axis, size in enumerate(chunks):
                for step in (-size, size):
                    start = _moved(_start(box), axis, step)
                    if start in by_start:
                        found.append(by_start.pop(start))
        yield group


def _filled(values: NDArray[Any], group: list[Box], chunks: tuple[int, ...], fill: float) -> bool:
    beside = same = 0
    for axis, size in enumerate(chunks):
        for face in _faces(values, group, axis, size):
            beside += face.size
            same += int((face == fill).sum())
    return same >= MIN_FILL * beside


def _cut(values: NDArray[Any], boxes: list[Box], axis: int, size: int, above: float) -> int:
    """Voxels above the background right beside left-out chunks along an axis."""
    return sum(int((face > above).sum()) for face in _faces(values, boxes, axis, size))


def _faces(values: NDArray[Any], boxes: list[Box], axis: int, size: int) -> Iterator[NDArray[Any]]:
    """The voxels right beside left-out chunks along an axis, in chunks that were written."""
    missing = {_start(box) for box in boxes}
    for box in boxes:
        here = box[axis]
        for at, start in ((here.start - 1, here.start - size), (here.stop, here.stop)):
            beside = _moved(_start(box), axis, start - here.start)
            if 0 <= at < values.shape[axis] and beside not in missing:
                yield values[(*box[:axis], slice(at, at + 1), *box[axis + 1 :])]


def _start(box: Box) -> tuple[int, ...]:
    return tuple(one.start for one in box)


def _moved(start: tuple[int, ...], axis: int, step: int) -> tuple[int, ...]:
    return (*start[:axis], start[axis] + step, *start[axis + 1 :])


def _surface(values: NDArray[Any], axis: int, above: float) -> int:
    """Neighbours along an axis of which one is background and the other not."""
    count = 0
    for low in range(0, values.shape[0], _SLAB):
        # Slab by slab, one slice over: a whole mask could double the memory.
        body = values[low : low + _SLAB + (axis == 0)] > above
        near, far = (np.moveaxis(body, axis, 0)[part] for part in (np.s_[:-1], np.s_[1:]))
        count += int((near != far).sum())
    return count


def _counts(shape: tuple[int, ...], sizes: tuple[int, ...]) -> list[int]:
    return [-(-length // size) for length, size in zip(shape, sizes, strict=True)]


def _box(start: tuple[int, ...], sizes: tuple[int, ...], shape: tuple[int, ...]) -> Box:
    return tuple(
        slice(a, min(a + size, length)) for a, size, length in zip(start, sizes, shape, strict=True)
    )


def require_whole_blosc(array: Any) -> None:
    """Require that each chunk compressed by Blosc has as many bytes as its header says.

    The header is that of Blosc 1 (https://github.com/Blosc/c-blosc/blob/main/README_HEADER.rst);
    bytes 12 to 15 are the length. Decoders do not compare it with the bytes that they get: of a
    chunk that lacks its last bytes they may decode whatever lies behind it in memory.
    """
    coders = tuple(array.compressors or ())
    if not coders or "blosc" not in type(coders[-1]).__name__.lower():
        return
    folder = Path(array.store.root) / array.path
    outer, inner = tuple(array.shards or array.chunks), tuple(array.chunks)
    for place in np.ndindex(*_counts(array.shape, outer)):
        file = folder / array.metadata.encode_chunk_key(place)
        if not file.is_file():
            continue
        parts = [(0, file.stat().st_size)]
        if array.shards:
            listed = _shard_index(file, array, outer, inner)
            parts = [part for _, part in listed if part != (_EMPTY, _EMPTY)]
        with file.open("rb") as opened:
            for start, length in parts:
                opened.seek(start)
                said = int.from_bytes(opened.read(16)[12:], "little")
                if said != length:
                    raise DataError(
                        f"the chunk has {length} bytes, its header says {said}",
                        where=str(file),
                        rule="every chunk of an OME-Zarr image has all its bytes",
                        remedy="copy it again; if its writer was stopped, write it again",
                        code="damaged-chunk",
                    )


def _shard_index(
    file: Path, array: Any, outer: tuple[int, ...], inner: tuple[int, ...]
) -> Iterator[tuple[tuple[int, ...], tuple[int, int]]]:
    """Offset in a shard of each of its chunks, and where its bytes start and how many they are.

    Both are 2^64 - 1 for a chunk that was not written.
    """
    counts = _counts(outer, inner)
    total = int(np.prod(counts))
    settings = _sharding(array)
    names = [str(one.get("name")) for one in settings.get("index_codecs", [])]
    if names not in (["bytes"], ["bytes", "crc32c"]) or _big(settings):
        raise _unknown(file, f"the index of the shard is coded by {', '.join(names)}")
    size = 16 * total + (4 if len(names) == 2 else 0)
    with file.open("rb") as opened:
        data = opened.read()
    at = 0 if settings.get("index_location") == "start" else len(data) - size
    if at < 0 or len(data) < size:
        raise _unknown(file, f"the shard has {len(data)} bytes, fewer than its index")
    index = np.frombuffer(data[at : at + 16 * total], "<u8").reshape(*counts, 2)
    for place, offset in zip(np.ndindex(*counts), _offsets(outer, inner), strict=True):
        start, length = int(index[place][0]), int(index[place][1])
        if (start, length) != (_EMPTY, _EMPTY) and start + length > len(data):
            problem = f"the index names bytes up to {start + length}, the shard has {len(data)}"
            raise _unknown(file, problem)
        yield offset, (start, length)


def _offsets(outer: tuple[int, ...], inner: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """Where the chunks of a shard start in it."""
    for place in np.ndindex(*_counts(outer, inner)):
        yield tuple(n * size for n, size in zip(place, inner, strict=True))


def _sharding(array: Any) -> Mapping[str, Any]:
    for codec in json.loads(json.dumps(array.metadata.to_dict(), default=str)).get("codecs", []):
        if codec.get("name") == "sharding_indexed":
            settings: Mapping[str, Any] = codec["configuration"]
            nested = [one.get("name") for one in settings.get("codecs", [])]
            return {} if "sharding_indexed" in nested else settings
    return {}


def _big(settings: Mapping[str, Any]) -> bool:
    first = settings["index_codecs"][0]
    return str(first.get("configuration", {}).get("endian", "little")) != "little"


def _unknown(file: Path, problem: str) -> DataError:
    return DataError(
        problem,
        where=str(file),
        rule="the index of a shard lists the chunks that were written",
        remedy="copy it again, or convert it to .mha",
        code="damaged",
    )
