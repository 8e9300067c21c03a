"""Messages between processes: JSON, with arrays as handles of shared memory; nothing is pickled."""

from __future__ import annotations

import json
import os
import socket
import struct
from typing import Any

import numpy as np

from synthct.data.readers.process import memory

MAX_MESSAGE_BYTES = 1 << 28
MAX_ARRAYS = 64

_LENGTHS = struct.Struct("<QI")
_ARRAY = "__array__"


def send(channel: socket.socket, message: Any) -> None:
    """Send a JSON value that may hold numpy arrays of numbers."""
    handles: list[int] = []
    body = json.dumps(_without_arrays(message, handles)).encode()
    try:
        socket.send_fds(channel, [_LENGTHS.pack(len(body), len(handles))], handles)
        channel.sendall(body)
    finally:
        for handle in handles:
            os.close(handle)


def receive(channel: socket.socket) -> Any:
    """The next message; raises ``EOFError`` when the other side is gone."""
    start, handles, _, _ = socket.recv_fds(channel, _LENGTHS.size, MAX_ARRAYS)
    try:
        if len(start) != _LENGTHS.size:
            raise EOFError
        length, arrays = _LENGTHS.unpack(start)
        if length > MAX_MESSAGE_BYTES or arrays != len(handles):
            raise ValueError(f"a message of {length} bytes and {arrays} arrays")
        body = bytearray(length)
        view = memoryview(body)
        while view:
            count = channel.recv_into(view)
            if not count:
                raise EOFError
            view = view[count:]
        return _with_arrays(json.loads(body), handles)
    finally:
        for handle in handles:
            if handle >= 0:
                os.close(handle)


def _without_arrays(value: Any, handles: list[int]) -> Any:
    if isinstance(value, np.ndarray):
        handles.append(os.dup(memory.handle_of(value)))
        return {_ARRAY: len(handles) - 1, "shape": list(value.shape), "dtype": value.dtype.str}
    if isinstance(value, dict):
        return {str(key): _without_arrays(item, handles) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_arrays(item, handles) for item in value]
    return value


def _with_arrays(value: Any, handles: list[int]) -> Any:
    if isinstance(value, dict):
        if _ARRAY not in value:
            return {key: _with_arrays(item, handles) for key, item in value.items()}
        number, dtype = int(value[_ARRAY]), np.dtype(value["dtype"])
        if dtype.kind not in "biuf" or min(value["shape"], default=1) < 1:
            raise ValueError(f"an array of {dtype}, {value['shape']}")
        handle, handles[number] = handles[number], -1
        return memory.attach(handle, value["shape"], dtype)
    if isinstance(value, list):
        return [_with_arrays(item, handles) for item in value]
    return value
