"""A real browser that waits in real time: pages that live on web sockets need it."""

from __future__ import annotations

import base64
import contextlib
import functools
import json
import re
import subprocess
import time
from pathlib import Path

import httpx
from websockets.sync.client import connect

WIDE, NARROW = (1280, 900), (390, 844)
"""Windows [pixels] of a desk and of a phone."""

SHOTS = {
    "1280": {"size": WIDE},
    "390": {"size": NARROW},
    "paper": {"size": WIDE, "paper": True},
}
"""How a page is looked at, by the end of the picture's name."""


@contextlib.contextmanager
def opened(browser: str, profile: Path):
    """Chromium on loopback; yields `look(url, path, text, ...)`: see :func:`_look`."""
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
            yield functools.partial(_look, socket)
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


def _look(
    socket,
    url: str,
    path: Path,
    text: str,
    settle_s: float = 2.0,
    password: str | None = None,
    size: tuple[int, int] = WIDE,
    paper: bool = False,
) -> Path:
    """Open the page, wait until it says `text`, let it settle, take its picture.

    ``size`` is that of the window [pixels]; ``paper``: the first sheet of A4 that it prints.
    """
    width, height = size
    _ask(
        socket, "Emulation.setDeviceMetricsOverride", width=width, height=height,
        deviceScaleFactor=1, mobile=width < 600,
    )  # fmt: skip
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
    if paper:
        a4 = {"paperWidth": 8.27, "paperHeight": 11.69, "printBackground": True}
        sheets = path.with_suffix(".pdf")
        sheets.write_bytes(base64.b64decode(_ask(socket, "Page.printToPDF", **a4)["data"]))
        first = ["pdftoppm", "-png", "-singlefile", "-r", "80", sheets, path.with_suffix("")]
        subprocess.run(first, check=True)  # apt-get install poppler-utils
        return path
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
