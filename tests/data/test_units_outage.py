"""Units on a real S3 server behind a proxy that misbehaves: nothing lost, nothing half-visible."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time

import pytest

from data import outage
from data.faults import MachineFault
from data.units import RemoteUnits

KEY = "cd" + "1" * 62

_ANSWERS = {
    "503": b"HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    "403": b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
}


class Proxy:
    """Forwards to the server; the next ``faulty`` requests go wrong in one way."""

    def __init__(self, port: int) -> None:
        self.upstream, self.kind, self.faulty, self.spoilt = port, "", 0, 0
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def misbehave(self, kind: str, times: int) -> None:
        self.kind, self.faulty = kind, times

    def close(self) -> None:
        self._socket.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._socket.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError):
            first = client.recv(65536)
            if self.faulty > 0 and first:
                self.faulty -= 1
                self.spoilt += 1
                if self._spoil(client, first):
                    return
            self._forward(client, first)

    def _spoil(self, client: socket.socket, first: bytes) -> bool:
        if self.kind in _ANSWERS:
            client.sendall(_ANSWERS[self.kind])
        elif self.kind == "reset":
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        elif self.kind == "slow":
            time.sleep(1.5)
            return False
        elif self.kind == "short":
            self._forward(client, first, most=300)
        return True

    def _forward(self, client: socket.socket, first: bytes, most: int | None = None) -> None:
        with socket.create_connection(("127.0.0.1", self.upstream)) as server:
            # One request a connection, so that each request meets the proxy's mood.
            server.sendall(first.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1))
            threading.Thread(target=self._pump, args=(client, server), daemon=True).start()
            sent = 0
            while block := server.recv(65536):
                block = block if most is None else block[: most - sent]
                sent += len(block)
                client.sendall(block)
                if most is not None and sent >= most:
                    return

    @staticmethod
    def _pump(source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while block := source.recv(65536):
                target.sendall(block)


@pytest.fixture
def proxied(s3, s3_server, tmp_path, monkeypatch):
    """The proxy, and a store whose every request goes through it."""
    import s3fs

    proxy = Proxy(int(s3_server["AWS_ENDPOINT_URL"].rsplit(":", 1)[1]))
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{proxy.port}")
    monkeypatch.setattr(s3fs.S3FileSystem, "retries", 1)  # ours are under test, not theirs
    s3fs.S3FileSystem.clear_instance_cache()
    yield proxy, RemoteUnits(f"{s3}/{tmp_path.name}")
    proxy.close()


@pytest.fixture
def made(tmp_path):
    folder = tmp_path / "made"
    folder.mkdir()
    (folder / "a.bin").write_bytes(bytes(range(256)) * 400)
    (folder / "b.txt").write_text("b")
    return folder


@pytest.mark.parametrize(
    "kind", ["503", "reset", "slow", pytest.param("short", marks=pytest.mark.slow)]
)
def test_a_store_that_is_ill_for_a_while_loses_or_halves_a_unit(kind, proxied, made, tmp_path):
    proxy, store = proxied
    proxy.misbehave(kind, 2)
    store.publish(KEY, made)
    assert store.has(KEY)
    proxy.misbehave(kind, 2)
    assert store.fetch(KEY, tmp_path / "back")
    assert (tmp_path / "back" / "a.bin").read_bytes() == (made / "a.bin").read_bytes()
    assert proxy.spoilt >= 3, "the proxy did misbehave"


def test_a_store_that_stays_away_shows_half_a_unit_or_hangs(proxied, made, monkeypatch):
    proxy, store = proxied
    monkeypatch.setattr(outage, "PATIENCE_S", 1.0)
    proxy.misbehave("503", 10_000)
    with pytest.raises(MachineFault) as told:
        store.publish(KEY, made)
    assert told.value.code == "storage-away"
    proxy.misbehave("", 0)
    assert not store.has(KEY)
    assert list(store.keys()) == []


def test_a_refusal_is_waited_for(proxied, made, monkeypatch):
    proxy, store = proxied
    monkeypatch.setattr(outage, "PATIENCE_S", 5.0)
    proxy.misbehave("403", 10_000)
    started = time.monotonic()
    with pytest.raises(MachineFault) as told:
        store.publish(KEY, made)
    assert told.value.code == "storage-denied"
    assert time.monotonic() - started < 20
