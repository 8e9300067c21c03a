"""What an entry of an inbox may be: files that are whole, and nothing that leads elsewhere."""

from __future__ import annotations

import os
import time

import pytest

from synthct.data.errors import DataError, MachineError
from synthct.tasks.prediction.inbox import FolderInbox

SETTLE_S = 0.3


def settled(place):
    place.arrivals()
    time.sleep(place.settle_s + 0.1)
    return place.arrivals()


def test_a_link_leads_the_watcher_to_a_scan_that_its_sender_may_not_read(folder, tmp_path):
    (tmp_path / "private").mkdir()
    (tmp_path / "private" / "Smith.dcm").write_bytes(b"of another patient")
    (folder / "Doe Jane" / "more").symlink_to(tmp_path / "private")
    place = FolderInbox(folder, settle_s=SETTLE_S)
    (arrival,) = settled(place)
    (tmp_path / "got").mkdir()
    with pytest.raises(DataError) as caught:
        place.fetch(arrival, tmp_path / "got")
    assert caught.value.code == "inbox-link"
    assert list((tmp_path / "got").rglob("*")) == []


@pytest.mark.timeout(60)
def test_a_pipe_stops_the_watch_over_all_others(folder, tmp_path):
    (folder / "good.mha").write_bytes(b"good")
    os.mkfifo(folder / "Doe Jane" / "pipe")
    place = FolderInbox(folder, settle_s=SETTLE_S)
    hostile, good = settled(place)
    (tmp_path / "got").mkdir()
    with pytest.raises(DataError) as caught:
        place.fetch(hostile, tmp_path / "got")
    assert caught.value.code == "inbox-link"
    assert place.fetch(good, tmp_path / "got").read_bytes() == b"good"


@pytest.mark.timeout(60)
@pytest.mark.parametrize("kind", ["link", "pipe"])
def test_a_file_that_becomes_a_link_or_a_pipe_is_followed(kind, folder, tmp_path, monkeypatch):
    """Between the check and the copy."""
    place = FolderInbox(folder, settle_s=SETTLE_S)
    (arrival,) = settled(place)
    monkeypatch.setattr("synthct.tasks.prediction.inbox._is_plain", lambda entry: True)
    file = folder / "Doe Jane" / "03.dcm"
    file.rename(tmp_path / "elsewhere")
    os.mkfifo(file) if kind == "pipe" else file.symlink_to(tmp_path / "elsewhere")
    (tmp_path / "got").mkdir()
    with pytest.raises(MachineError) as caught:
        place.fetch(arrival, tmp_path / "got")
    assert caught.value.code == "inbox-changed"


def test_a_series_is_predicted_without_the_slice_that_is_still_written(prefix):
    place, put = prefix
    put("scan/1.dcm", b"first")
    put("scan/2.dcm.part", b"sec")
    put("other/1.dcm.a1b2.partial", b"fi")
    put("good/1.dcm", b"first")
    assert [arrival.name for arrival in settled(place)] == ["good"]


def test_a_folder_that_was_made_in_a_console_quarantines_its_scan(prefix, tmp_path):
    """Consoles make an empty object whose name ends with a slash."""
    place, put = prefix
    put("", b"")
    put("scan/", b"")
    put("scan/inner/", b"")
    put("scan/inner/1.dcm", b"first")
    (arrival,) = settled(place)
    fetched = place.fetch(arrival, tmp_path)
    assert [file.name for file in fetched.rglob("*") if file.is_file()] == ["1.dcm"]
