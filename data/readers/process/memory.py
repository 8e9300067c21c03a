"""Allocation of large arrays: ordinary memory, in a reader's process shared memory."""

from __future__ import annotations

import fcntl
import math
import mmap
import os
import tempfile
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW

_handles: dict[int, int] | None = None
"""File handle of each shared block by the address of its memory; None: ordinary memory."""


def share() -> None:
    """Make :func:`empty` allocate shared memory from now on."""
    global _handles
    _handles = {}


def inside_reader() -> bool:
    """Whether this is a reader's process, in which another one must not be started."""
    return _handles is not None


def empty(shape: Sequence[int], dtype: Any) -> NDArray[Any]:
    """An uninitialised array, shared where :func:`share` was called."""
    dtype = np.dtype(dtype)
    size = math.prod(shape) * dtype.itemsize
    if _handles is None or size == 0:
        return np.empty(tuple(shape), dtype)
    handle = _block(size)
    array = np.frombuffer(mmap.mmap(handle, size), dtype).reshape(tuple(shape))
    _handles[array.ctypes.data] = handle
    return array


def handle_of(array: NDArray[Any]) -> int:
    """A file handle whose bytes are the array's, copied unless it was made by :func:`empty`."""
    handle = (_handles or {}).get(array.ctypes.data)
    if handle is not None and array.flags.c_contiguous and _size(handle) == array.nbytes:
        return handle
    handle = _block(array.nbytes)
    view = memoryview(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    while view:
        view = view[os.write(handle, view) :]
    return handle


def attach(handle: int, shape: Sequence[int], dtype: Any) -> NDArray[Any]:
    """Map the array of another process's handle, and close the handle.

    The size is checked and sealed, so that the other process cannot shorten it afterwards.
    """
    size = math.prod(shape) * np.dtype(dtype).itemsize
    try:
        if _size(handle) != size:
            raise ValueError(f"{_size(handle)} bytes where {size} were announced")
        if hasattr(os, "memfd_create"):
            fcntl.fcntl(handle, fcntl.F_ADD_SEALS, _SEALS)
        block = mmap.mmap(handle, size, prot=mmap.PROT_READ | mmap.PROT_WRITE)
    finally:
        os.close(handle)
    return np.frombuffer(block, dtype).reshape(tuple(shape))


def _block(size: int) -> int:
    if hasattr(os, "memfd_create"):
        handle = os.memfd_create("scan", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    else:
        with tempfile.TemporaryFile() as file:
            handle = os.dup(file.fileno())
    os.ftruncate(handle, size)
    return handle


def _size(handle: int) -> int:
    return os.fstat(handle).st_size
