"""A proxy on loopback that misbehaves before a real S3 server."""

from __future__ import annotations

import contextlib
import itertools
import socket
import struct
import threading
import time

ANSWERS = {
    "503": b"HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    "403": b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
}


def refusal(kind: str, asked: bytes) -> bytes:
    """What S3 answers, by status and code: ``400 ExpiredToken``. To a HEAD without body."""
    status, code = kind.split()
    body = f"<Error><Code>{code}</Code><Message>said the store</Message></Error>".encode()
    head = (
        f"HTTP/1.1 {status} No\r\nContent-Type: application/xml\r\n"
        "x-amz-bucket-region: eu-west-1\r\n"  # without it botocore follows a 301 for ever
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    ).encode()
    return head if asked.startswith(b"HEAD") else head + body


class Proxy:
    """Forwards to the server; the next ``faulty`` requests go wrong in one way."""

    def __init__(self, port: int) -> None:
        self.upstream, self.kind, self.faulty, self.spoilt = port, "", 0, 0
        self.away_until, self._kinds = 0.0, itertools.cycle(("503", "reset", "short"))
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def misbehave(self, kind: str, times: int) -> None:
        self.kind, self.faulty = kind, times

    def stay_away(self, seconds: float) -> None:
        """Every request of the next seconds goes wrong, each in another way."""
        self.away_until = time.monotonic() + seconds

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
            if time.monotonic() < self.away_until:
                self.kind, self.faulty = next(self._kinds), 1
            if self.faulty > 0 and first:
                self.faulty -= 1
                self.spoilt += 1
                if self._spoil(client, first):
                    return
            self._forward(client, first)

    def _spoil(self, client: socket.socket, first: bytes) -> bool:
        if self.kind in ANSWERS:
            client.sendall(ANSWERS[self.kind])
        elif " " in self.kind:
            client.sendall(refusal(self.kind, first))
        elif self.kind == "reset":
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        elif self.kind == "slow":
            time.sleep(1.5)
            return False
        elif self.kind == "short":
            self._forward(client, first, most=300)
            client.shutdown(socket.SHUT_RDWR)  # close alone leaves the line up for the pump
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
