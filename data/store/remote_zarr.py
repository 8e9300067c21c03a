"""Zarr's view of a volume on an object store, for patch reads: survives outages, refuses gaps."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from zarr.abc.store import ByteRequest, RangeByteRequest
from zarr.core.buffer import Buffer, BufferPrototype
from zarr.storage import FsspecStore, WrapperStore

from synthct.data.errors import MachineError
from synthct.data.store import outage
from synthct.data.store.connection import connect

_SHORTEST_WAIT_S = 0.5


class RemoteZarr(WrapperStore[FsspecStore]):
    """A zarr store with reads retried during outages; missing and short answers are refused.

    Zarr reads a missing chunk as zeros: here it raises, because a stored volume has every chunk.
    """

    @classmethod
    def at(cls, url: str) -> RemoteZarr:
        """The store of the volume at an ``s3://`` (or other object store's) URL."""
        system, path = connect(url, asynchronous=True)
        return cls(FsspecStore(system, read_only=True, path=path))

    async def get(
        self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        """The bytes of a key, or of a part of it."""
        deadline_s = time.monotonic() + outage.PATIENCE_S
        wait_s = _SHORTEST_WAIT_S
        while True:
            try:
                found = await self._store.get(key, prototype, byte_range)
            except Exception as error:
                outage.raise_refusal(error, where=key)
                if time.monotonic() + wait_s > deadline_s:
                    raise outage.unreachable(error, where=key) from error
            else:
                if found is None and "/c/" in key:
                    raise _gap(key)
                if found is None or _whole(found, byte_range):
                    return found
            await asyncio.sleep(wait_s)
            wait_s = outage.next_wait_s(wait_s, key)


def _whole(found: Any, byte_range: ByteRequest | None) -> bool:
    if isinstance(byte_range, RangeByteRequest):
        return len(found) == byte_range.end - byte_range.start
    return True


def _gap(key: str) -> MachineError:
    return MachineError(
        "the shard is missing",
        where=key,
        rule="a stored volume has every shard that its manifest lists",
        remedy="delete the volume and run the stage that writes it again",
        code="store-damaged",
    )
