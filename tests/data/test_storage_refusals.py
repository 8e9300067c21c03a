"""Refusals of an object store are reported at once, by every use of it, without retries."""

from __future__ import annotations

import asyncio
import threading
from types import SimpleNamespace

import pytest

from synthct.data.errors import MachineError, UsageError
from synthct.data.store.connection import connect
from synthct.data.store.objects import Objects
from synthct.data.store.outage import call_with_retries
from synthct.data.store.result_cache import RemoteResults
from synthct.tasks.prediction.inbox import PrefixInbox, open_inbox
from tests.fixtures.fault_proxy import Proxy

KEY = "cd" + "1" * 62

ANSWERS = {
    "400 ExpiredToken": "storage-denied",
    "400 InvalidToken": "storage-denied",
    "403 RequestTimeTooSkewed": "storage-denied",
    "400 AuthorizationHeaderMalformed": "storage-refused",  # signed for another region
    "301 PermanentRedirect": "storage-refused",  # the bucket is in another region
    "400 InvalidBucketName": "storage-refused",
    "405 MethodNotAllowed": "storage-refused",
    "403 QuotaExceeded": "storage-full",
    "507 XMinioStorageFull": "storage-full",
    "511 NetworkAuthenticationRequired": "storage-refused",  # a proxy's login
}


def list_units(url):
    list(RemoteResults(url).keys())


def write_unit(url, folder):
    folder.mkdir(exist_ok=True)
    (folder / "a.txt").write_text("a")
    call_with_retries(lambda: RemoteResults(url)._upload(KEY, folder, ""), where=url)


def list_inbox(url):
    PrefixInbox(url, settle_s=0.1).arrivals()


def list_objects(url):
    Objects(url).names()


def read_patches(url):
    from zarr.core.buffer import default_buffer_prototype

    from synthct.data.store.remote_zarr import RemoteZarr

    store = RemoteZarr.at(f"{url}/ct.zarr")
    asyncio.run(store.get("zarr.json", default_buffer_prototype()))


USES = {each.__name__: each for each in (list_units, list_inbox, list_objects, read_patches)}


@pytest.fixture
def fresh_sessions():
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()
    yield
    s3fs.S3FileSystem.clear_instance_cache()


@pytest.fixture
def refusing(monkeypatch, fresh_sessions):
    """An S3 server that answers every request in one way."""
    proxy = Proxy(1)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{proxy.port}")
    yield proxy
    proxy.close()


def refused(call, *arguments):
    """The error of a call."""
    with pytest.raises(MachineError) as caught:
        call(*arguments)
    return caught.value


@pytest.mark.parametrize("answer", ANSWERS)
def test_a_refusal_that_is_no_403_is_waited_for_a_quarter_of_an_hour(
    answer, refusing, unpaused, tmp_path
):
    refusing.misbehave(answer, 10_000)
    told = refused(list_units, "s3://bucket/units")
    assert told.code == ANSWERS[answer]
    assert answer.split()[1] in told.problem
    assert refused(write_unit, "s3://bucket/units", tmp_path / "made").code == ANSWERS[answer]


@pytest.mark.parametrize("use", USES)
def test_one_use_of_the_store_has_a_policy_of_its_own(use, refusing, unpaused):
    refusing.misbehave("400 AuthorizationHeaderMalformed", 10_000)
    assert refused(USES[use], "s3://bucket/place").code == "storage-refused"


def test_a_refused_request_for_the_facts_of_an_object_is_waited_for(refusing, unpaused):
    """The answer to a HEAD has no body, so no code: the status alone must do."""
    refusing.misbehave("400 ExpiredToken", 10_000)
    told = refused(RemoteResults("s3://bucket/units").has, KEY)
    assert told.code == "storage-refused"
    assert "token" in told.remedy


def test_a_machine_without_credentials_waits_for_some(monkeypatch, refusing, unpaused, tmp_path):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert refused(list_units, "s3://bucket/units").code == "storage-denied"
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    assert refused(list_units, "s3://bucket/other").code == "storage-denied"


def test_a_slip_in_a_setting_is_taken_for_an_outage(monkeypatch, refusing, unpaused):
    import s3fs

    refusing.misbehave("503", 10_000)
    assert refused(list_units, "s3://Bad_Bucket!/units").code == "storage-refused"
    for address in ("127.0.0.1:9000", f"https://127.0.0.1:{refusing.port}"):
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
        s3fs.S3FileSystem.clear_instance_cache()
        assert refused(list_units, "s3://bucket/units").code == "storage-refused"


def test_a_store_that_does_not_answer_is_waited_for_without_a_word(monkeypatch, caplog, refusing):
    from synthct.data.store import outage

    now_s = [0.0]
    pauses_s = []

    def sleep(seconds):
        pauses_s.append(seconds)
        now_s[0] += seconds

    monkeypatch.setattr(outage, "time", SimpleNamespace(monotonic=lambda: now_s[0], sleep=sleep))
    monkeypatch.setattr(outage, "PATIENCE_S", 60.0)
    refusing.misbehave("503", 10_000)
    assert refused(list_units, "s3://bucket/units").code == "storage-away"
    assert pauses_s == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0]  # the next, 30 s, would pass the minute
    assert [record.message for record in caplog.records if record.name == "synthct.storage"] == [
        "s3://bucket/units does not answer: waiting for it, up to 1 minutes"
    ]


def test_the_retries_of_the_libraries_multiply_with_ours(refusing, s3_server, monkeypatch):
    """Of a 503, botocore asks five times and s3fs five times that: an attempt took 40 s."""
    from synthct.data.store import outage

    monkeypatch.setattr(outage, "PATIENCE_S", 0.0)
    refusing.misbehave("503", 10_000)
    for url, use in (("s3://bucket/u", list_units), ("s3://bucket/i", list_inbox)):
        before = refusing.spoilt
        assert refused(use, url).code == "storage-away"
        assert refusing.spoilt - before <= 2


def test_an_object_is_overwritten_between_the_list_and_the_download(s3, tmp_path):
    from synthct.data.store.connection import download
    from synthct.data.store.outage import WrongBytes

    system, path = connect(f"{s3}/{tmp_path.name}/scan.mha")
    system.pipe_file(path, b"first")
    system.invalidate_cache()
    listed = system.info(path)
    download(system, path, tmp_path / "got", listed)
    assert (tmp_path / "got").read_bytes() == b"first"
    system.pipe_file(path, b"other")  # as long as the first
    with pytest.raises(WrongBytes):
        download(system, path, tmp_path / "got", listed)
    in_parts = {**listed, "ETag": '"0123456789abcdef0123456789abcdef-2"'}  # no hash of the bytes
    with pytest.raises(WrongBytes):
        download(system, path, tmp_path / "got", in_parts)


@pytest.mark.parametrize("name", ["../../../planted", "a/../../../../planted", "a//b", "a\nb"])
def test_an_object_of_a_unit_is_written_outside_of_its_folder(name, monkeypatch, tmp_path):
    """Whoever may write to the bucket chooses the names; a unit of ours never has such."""
    from synthct.data.store import result_cache as units

    class Hostile:
        removed = False

        def invalidate_cache(self): ...

        def info(self, path):
            if self.removed:
                raise FileNotFoundError(path)
            return {"size": 64}

        def cat_file(self, path):
            return b"0" * 64

        def find(self, path, detail):
            tag = "1d0258c2440a8d19e716292b231e3190"
            return {f"{path}/{name}": {"size": 7, "ETag": f'"{tag}"'}}

        def get_file(self, path, target):
            target = type(tmp_path)(target)
            target.write_bytes(b"planted")

        def rm_file(self, path): ...

        def rm(self, path, recursive):
            self.removed = True

    store = Hostile()
    monkeypatch.setattr(units, "connect", lambda url: (store, url.removeprefix("s3://")))
    private = tmp_path / "private" / "deep" / "unit"
    private.parent.mkdir(parents=True)
    with pytest.raises(MachineError, match="leads out of its folder") as caught:
        RemoteResults("s3://bucket/units").fetch(KEY, private)
    assert caught.value.code == "unit-damaged"
    assert store.removed, "it is dropped and computed again"
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


@pytest.fixture
def console(monkeypatch, fresh_sessions):
    """A page that answers every request with success, as on a console's port."""
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

    class Console(BaseHTTPRequestHandler):
        def do_GET(self):
            body = b"<html>welcome</html>"
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_HEAD = do_PUT = do_POST = do_GET  # noqa: N815

        def log_message(self, *_): ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Console)
    threading.Thread(target=server.serve_forever, args=(0.1,), daemon=True).start()
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_address[1]}")
    yield
    server.shutdown()
    server.server_close()


def test_a_page_that_says_yes_to_everything_is_taken_for_a_store(console):
    """Results would go nowhere, and a watcher would wait for ever without a word."""
    for call in (
        lambda: RemoteResults("s3://bucket/units").leave_token("ab"),
        lambda: open_inbox("s3://bucket/in", settle_s=1.0),
        lambda: open_inbox("s3://bucket", settle_s=1.0),
    ):
        error = refused(call)
        assert (error.code, "AWS_ENDPOINT_URL" in error.remedy) == ("storage-refused", True)


def test_an_inbox_that_is_an_object_is_watched_for_ever(s3, tmp_path):
    system, path = connect(f"{s3}/{tmp_path.name}/scan.zip")
    system.pipe_file(path, b"scan")
    with pytest.raises(UsageError) as caught:
        PrefixInbox(f"{s3}/{tmp_path.name}/scan.zip", settle_s=0.1).arrivals()
    assert caught.value.code == "no-inbox"


@pytest.mark.parametrize("url", ["s3://", "s3:///units"])
def test_an_address_without_a_bucket_is_called_a_bug(url):
    with pytest.raises(UsageError) as caught:
        connect(url)
    assert caught.value.code == "no-bucket"
