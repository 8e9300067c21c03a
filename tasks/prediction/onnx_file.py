"""Checks an ONNX file at the level of protobuf, before a runtime opens it.

Weights may lie in other files (``TensorProto.external_data``): a runtime would open whatever path a
release names. Searching the bytes for the words misses every other spelling that a parser takes
(fields in another order, lengths with leading zeros), so the messages that can hold a tensor are
walked by the wire format: https://protobuf.dev/programming-guides/encoding and, for the numbers of
the fields, https://github.com/onnx/onnx/blob/main/onnx/onnx.proto.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from synthct.data.errors import UsageError

DEEPEST = 64
"""Maximum nesting of messages; no network of ours nests graphs that deep."""

_CHILDREN: Mapping[str, Mapping[int, str]] = {
    "Model": {7: "Graph", 20: "Training", 25: "Function"},
    "Training": {1: "Graph", 2: "Graph"},
    "Function": {7: "Node", 11: "Attribute"},
    "Graph": {1: "Node", 5: "Tensor", 15: "SparseTensor"},
    "Node": {5: "Attribute"},
    "Attribute": {5: "Tensor", 6: "Graph", 10: "Tensor", 11: "Graph", 22: "SparseTensor",
                  23: "SparseTensor"},
    "SparseTensor": {1: "Tensor", 2: "Tensor"},
    "Tensor": {},
}  # fmt: skip
"""Message, field number, and message in that field: every path from a model to a tensor."""

_EXTERNAL_DATA, _DATA_LOCATION, _OP_TYPE = 13, 14, 4

_VARINT, _I64, _BYTES, _I32 = 0, 1, 2, 5
_LONGEST_VARINT = 10
_LARGEST_NUMBER = (1 << 29) - 1

Field = tuple[int, int, int | memoryview]
"""Number, wire type, value."""


class _Malformed(ValueError):
    """The bytes are not a protobuf."""


def require_self_contained(file: Path, graph: bytes) -> None:
    """Raise unless the bytes are an ONNX model that contains all its weights.

    Raises
    ------
    UsageError
        ``release-external-data``, or ``release-unreadable`` where they are no ONNX model (the
        runtime also takes another format, which may refer to files too).
    """
    try:
        if not any(number == 7 for number, _, _ in _fields(memoryview(graph))):
            raise _Malformed("it has no graph")
        found = _outside(memoryview(graph), "Model", 0)
    except _Malformed as error:
        raise UsageError(
            f"the file is not an ONNX model: {error}",
            rule="a network of a release is an ONNX model",
            where=str(file),
            remedy="export it again",
            code="release-unreadable",
        ) from None
    if found:
        raise UsageError(
            found,
            rule="an ONNX file of a release holds its weights itself",
            where=str(file),
            remedy="export it again; a graph that reads other files of the machine is not opened",
            code="release-external-data",
        )


def _outside(message: memoryview, kind: str, depth: int) -> str:
    """Description of the first reference to another file in the message; empty if there is none."""
    if depth > DEEPEST:
        raise _Malformed(f"messages more than {DEEPEST} deep")
    children = _CHILDREN[kind]
    for number, wire, value in _fields(message):
        if kind == "Tensor" and number == _EXTERNAL_DATA:
            return "a tensor names another file"
        if kind == "Tensor" and number == _DATA_LOCATION and value != 0:
            return "a tensor lies in another file"
        compiled = isinstance(value, memoryview) and bytes(value[:16]) == b"EPContext"
        if kind == "Node" and number == _OP_TYPE and compiled:
            return "a node is a compiled graph, which may lie in another file"
        if number in children:
            if wire != _BYTES or not isinstance(value, memoryview):
                raise _Malformed(f"field {number} of a {kind} is not a message")
            if found := _outside(value, children[number], depth + 1):
                return found
    return ""


def _fields(message: memoryview) -> Iterator[Field]:
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        number, wire = tag >> 3, tag & 7
        if not 0 < number <= _LARGEST_NUMBER:  # a 32-bit parser would read another number
            raise _Malformed(f"a field of number {number}")
        value: int | memoryview
        if wire == _VARINT:
            value, at = _varint(message, at)
        elif wire in (_BYTES, _I64, _I32):
            size, at = _varint(message, at) if wire == _BYTES else (8 if wire == _I64 else 4, at)
            if at + size > len(message):
                raise _Malformed("a field that is longer than its message")
            value, at = message[at : at + size], at + size
        else:
            raise _Malformed(f"a field of wire type {wire}")
        yield number, wire, value


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """A variable-length integer, with any number of leading zeros, and the position after it."""
    number = 0
    for place in range(_LONGEST_VARINT):
        if at + place >= len(message):
            raise _Malformed("it ends in the middle of a number")
        byte = message[at + place]
        number |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:
            return number & (1 << 64) - 1, at + place + 1
    raise _Malformed("a number longer than 64 bits")
