"""Nothing that a page or a message reads ends the service, or hides what is good."""

from __future__ import annotations

import json
import os
import socket
import time

import httpx
import pytest

from synthct.data.errors import UsageError
from synthct.flows.serve import notify, pages, serving
from synthct.flows.serve.metrics import exposition
from synthct.flows.serve.notify import Notifier
from synthct.flows.serve.page import status_page
from synthct.flows.serve.runs import Run
from synthct.flows.serve.snapshot import Observer

GOOD = "case,patient,source,region,fold,method,reference,metric,value\n" + (
    "A_mr,A,mr,thorax,0,model,truth,mae_hu,42.0\n"
)
NOWHERE = "http://127.0.0.1:9/api"


def shown(root):
    """What page and exporter say; both must be made."""
    facts = Observer(root, NOWHERE, root).snapshot()
    return (
        status_page(facts, checkout="c", api=NOWHERE, links=[]) + exposition(facts).decode()
    ).replace(" ", "")


@pytest.fixture
def root(tmp_path):
    write(tmp_path / "workspaces/good/artefacts/evaluation/scores.csv", GOOD)
    return tmp_path


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode(errors="surrogateescape"))


TABLES = {
    "other columns": "a,b\n1,2\n",
    "a value and nothing else": "value\n1\n",
    "too few fields": "source,method,reference,metric,value\nmr\n",
    "too many fields": "source,value\nmr,1,2,3,4\n",
    "no text": b"\xff\xfe\x00\x01" * 50,
    "nulls": b"source,value\n\0,1\n",
    "one endless field": "source,value\n" + "x" * 200_000 + ",1\n",
    "empty": "",
}


@pytest.mark.parametrize("kind", TABLES)
@pytest.mark.parametrize("file", ["evaluation/scores.csv", "registration/quality.csv"])
def test_a_table_of_another_kind_ends_the_service(kind, file, root):
    write(root / "data/artefacts" / file, TABLES[kind])
    assert 'workspace="good"}42.0' in shown(root)


def test_a_table_that_is_removed_while_it_is_read_ends_the_service(root, monkeypatch):
    from synthct.flows.serve import records

    write(root / "data/artefacts/evaluation/scores.csv", GOOD)
    real = records._tables

    def swapped(folder):
        found = real(folder)
        if folder is not None and folder.parent.name == "data":
            for path in found:
                path.unlink(missing_ok=True)
        return found

    monkeypatch.setattr(records, "_tables", swapped)
    assert 'workspace="good"}42.0' in shown(root)


EVENTS = [
    "[]", "3", '"x"', "null", '{"kind": "units_planned"}', '{"kind": "units_planned", "total": []}',
    '{"time_s": "soon"}', '{"time_s": null}', '{"kind": "step", "terms": {"l1": "high"}}',
    '{"kind": "step", "total": "x", "step": 1}', '{"kind": {"a": 1}, "stage": 4}', "\0", "{",
    "[" * 100_000, '{"time_s": NaN}', '{"time_s": 1e999}', '{"time_s": -1e300}', "\udcff",
    '{"kind": "units_planned", "total": 1e400, "stage": "a"}', '{"kind": "stage_started"}',
    '{"kind": "units_planned", "total": 3, "reused": 1, "efforts": {"a": NaN}, "stage": "x"}',
]  # fmt: skip


@pytest.mark.parametrize("event", EVENTS)
def test_an_event_of_another_kind_ends_the_service(event, root):
    folder = root / ".synthct/runs/20260101-000000-aa"
    good = '{"kind": "step", "unit": "u", "time_s": 1, "terms": {"l1": 0.25}}'
    write(folder / "events.jsonl", f"{event}\n{good}\n")
    assert 'term="l1",unit="u"}0.25' in shown(root)


CLUSTERS = [
    "[]",
    "{}",
    '{"time_s": "x"}',
    '{"workers": [1]}',
    '{"dashboard": 3}',
    "null",
    "[" * 100_000,
]


@pytest.mark.parametrize("told", CLUSTERS)
def test_a_picture_of_workers_of_another_kind_ends_the_service(told, root):
    folder = root / ".synthct/runs/20260101-000000-aa"
    if told.startswith("{"):
        told = json.dumps({"time_s": time.time(), "workers": [], **json.loads(told)})
    write(folder / "events.jsonl", "")
    write(folder / "cluster.json", told)
    assert 'workspace="good"}42.0' in shown(root)


def test_a_folder_that_may_not_be_read_ends_the_service(root):
    (root / ".synthct/runs/20260101-000000-aa/events.jsonl").mkdir(parents=True)
    assert 'workspace="good"}42.0' in shown(root)


SLIPS = [
    "https://", "https:// example.org/x", "https://example.org:99999/", "https://[::1/x", "hook",
    "http://example.org/x", "http://127.0.0.1.example.org/x", "http://localhost@example.org/x",
    "https://a\nhttps://b", "", "ftp://example.org",
]  # fmt: skip


@pytest.mark.parametrize("url", SLIPS)
def test_a_slip_in_the_webhooks_address_is_found_out_by_the_first_message(
    url, tmp_path, monkeypatch
):
    (tmp_path / "hook").write_text(url)
    monkeypatch.setenv(str(notify.WEBHOOK_FILE), str(tmp_path / "hook"))
    with pytest.raises(UsageError) as caught:
        notify.webhook()
    assert caught.value.code == "bad-webhook"
    assert len(url) < 12 or url not in str(caught.value), "it is a secret"


def test_a_message_that_cannot_be_sent_ends_the_service(monkeypatch):
    run = Run("1", "night", "demo", "run", "FAILED", "", 1.0, time.time(), 1.0, True)

    def slip(*arguments, **more):
        raise httpx.InvalidURL("Invalid port: '99999'")

    monkeypatch.setattr(notify.httpx, "post", slip)
    notifier = Notifier("https://example.org:99999", since_s=0.0)
    lines = [line for _ in range(9) for line in notifier.post_ended([run])]
    assert lines == ["the webhook did not accept night: InvalidURL"]


def test_a_failed_update_ends_the_service_or_fills_the_log():
    class Blind:
        def snapshot(self):
            raise OSError(5, "Input/output error")

    said = []
    trouble = ""
    for _ in range(3):
        trouble = serving._update(Blind(), Notifier(None), None, said.append, trouble)
    assert said == [
        "an update failed, the service continues: OSError: [Errno 5] Input/output error"
    ]
    assert os.strerror(5) in trouble


def test_connections_that_say_nothing_hold_the_threads_of_the_service(monkeypatch):
    """Any local user can open some, whole or cut off in the middle of a request."""
    monkeypatch.setattr(pages, "IDLE_S", 0.5)
    with pages.pages(0, {"/": lambda: ("text/plain", b"ok")}) as address:
        port = int(address.rsplit(":", 1)[1])
        silent = [socket.create_connection(("127.0.0.1", port), 10) for _ in range(50)]
        for each in silent[::2]:
            each.sendall(b"GET / HTTP/1.1\r\nHost: ")
        assert httpx.get(address).text == "ok"
        assert [each.recv(10) for each in silent] == [b""] * 50
        for each in silent:
            each.close()
