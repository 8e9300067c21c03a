"""A real browser that waits in real time: pages that live on web sockets need it."""

from __future__ import annotations

import base64
import contextlib
import json
import re
import subprocess
import time
from pathlib import Path

import httpx
from websockets.sync.client import connect


@contextlib.contextmanager
def opened(browser: str, profile: Path):
    """Chromium on loopback; yields `look(url, path, seconds, text)`."""
    process = subprocess.Popen(
        [browser, "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
         "--disable-dev-shm-usage", f"--user-data-dir={profile}", "--window-size=1280,900",
         "--remote-debugging-port=0", "about:blank"],
        stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    try:
        for line in process.stderr:
            if found := re.search(r"ws://127\.0\.0\.1:(\d+)/", line):
                break
        else:
            raise RuntimeError("Chromium did not start")
        (page, *_) = [
            each
            for each in httpx.get(f"http://127.0.0.1:{found[1]}/json").json()
            if each["type"] == "page"
        ]
        with connect(page["webSocketDebuggerUrl"], max_size=2**26, open_timeout=30) as socket:
            yield lambda url, path, text, settle_s=2.0, password=None: _look(
                socket, url, path, text, settle_s, password
            )
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


def _look(socket, url: str, path: Path, text: str, settle_s: float, password: str | None) -> Path:
    """Open the page, wait until it says `text`, let it settle, take its picture."""
    _ask(socket, "Page.navigate", url=url)
    if password is not None:  # as Prefect's page keeps what a person typed
        time.sleep(2.0)
        keep = f"localStorage.setItem('prefect-password', btoa({json.dumps(password)}))"
        _ask(socket, "Runtime.evaluate", expression=keep)
        _ask(socket, "Page.navigate", url=url)
    deadline = time.monotonic() + 40.0
    while True:
        said = _ask(
            socket, "Runtime.evaluate", expression="document.body ? document.body.innerText : ''"
        )
        if text in str(said["result"].get("value")):
            break
        assert time.monotonic() < deadline, f"{url} never said {text!r}: {said['result']}"
        time.sleep(0.3)
    time.sleep(settle_s)
    taken = _ask(socket, "Page.captureScreenshot", format="png")
    path.write_bytes(base64.b64decode(taken["data"]))
    return path


def _ask(socket, method: str, **parameters):
    number = time.monotonic_ns() % 2**31
    socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
    while True:
        answer = json.loads(socket.recv(timeout=60))
        if answer.get("id") == number:
            assert "error" not in answer, answer
            return answer["result"]
