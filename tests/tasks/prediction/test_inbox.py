"""When a scan is taken: whole, once, and never outside of the folder that is ours."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synthct.data.errors import DataError, MachineError, UsageError
from synthct.data.store.connection import object_path
from synthct.tasks.prediction.batch import predict_arrival
from synthct.tasks.prediction.inbox import FolderInbox, PrefixInbox, open_inbox
from synthct.tasks.prediction.observations import Observations
from synthct.tasks.prediction.outbox import Outbox
from tests.tasks.prediction.conftest import slice_of

ROOT = Path(__file__).resolve().parents[3]
SETTLE_S = 0.3


def names(place):
    return [arrival.name for arrival in place.arrivals()]


def test_a_series_that_is_half_copied_with_its_dates_kept_is_predicted(folder):
    place = FolderInbox(folder, settle_s=SETTLE_S)
    assert names(place) == []
    for number in range(12, 24):
        time.sleep(SETTLE_S / 6)
        slice_of(folder, number)
        assert names(place) == []
    time.sleep(1.1 * SETTLE_S)
    assert names(place) == ["Doe Jane"]
    assert place.pending.count == 0


def test_a_slice_that_is_overwritten_with_its_size_and_date_kept_is_not_noticed(folder):
    place = FolderInbox(folder, settle_s=SETTLE_S)
    names(place)
    time.sleep(1.1 * SETTLE_S)
    slice_of(folder, 3)  # the same size and mtime: only the date of change tells
    assert names(place) == []


def test_a_date_in_the_future_delays_a_scan_for_ever_or_is_not_reported(folder):
    future = time.time() + 10 * 365 * 86_400
    os.utime(folder / "Doe Jane" / "05.dcm", (future, future))
    place = FolderInbox(folder, settle_s=SETTLE_S)
    names(place)
    (note,) = place.notes
    assert note.startswith("1 of 1 entries hold files dated in the future")
    assert "Doe" not in note
    time.sleep(1.1 * SETTLE_S)
    assert names(place) == ["Doe Jane"]


def test_a_file_that_cannot_be_read_ends_the_watch_over_all_others(folder, monkeypatch):
    from synthct.tasks.prediction import inbox as module

    (folder / "other.mha").write_bytes(b"scan")

    def refuse(path):
        if path.name == "other.mha":
            raise PermissionError(13, "Permission denied", str(path))
        return "0" * 64

    monkeypatch.setattr(module, "content_hash", refuse)
    place = FolderInbox(folder, settle_s=SETTLE_S)
    names(place)
    time.sleep(1.1 * SETTLE_S)
    assert names(place) == ["Doe Jane"]
    assert "1 of 2 entries cannot be read" in place.notes[0]


def test_an_entry_that_its_sender_takes_back_ends_the_watch(folder, tmp_path, release):
    from synthct.tasks.prediction.batch import BatchSettings

    place = FolderInbox(folder, settle_s=0.1)
    names(place)
    time.sleep(0.15)
    (arrival,) = place.arrivals()
    shutil.rmtree(folder / "Doe Jane")
    settings, outbox = BatchSettings(release), Outbox(tmp_path / "out")
    result = predict_arrival(settings.key(arrival), arrival, place, outbox, settings)
    assert result.status == "changed"
    assert outbox.reports() == []


def test_a_process_that_polls_once_forgets_the_previous_poll(folder, tmp_path):
    memory = tmp_path / "out" / ".looks" / "a.json"
    assert names(open_inbox(str(folder), settle_s=1.0, memory=memory)) == []
    time.sleep(1.6)  # the memory counts whole seconds
    assert names(open_inbox(str(folder), settle_s=1.0, memory=memory)) == ["Doe Jane"]
    slice_of(folder, 12)
    assert names(open_inbox(str(folder), settle_s=1.0, memory=memory)) == []
    assert "Doe" not in memory.read_text()
    assert memory.parent.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("spoilt", ["", "[]", '{"entries": {"a": 1}}', '{"entries": {"a": "xyz"}}'])
def test_a_damaged_file_of_observations_ends_the_watch(spoilt, tmp_path):
    (tmp_path / "looks.json").write_text(spoilt)
    assert Observations(tmp_path / "looks.json").update({"a": "1"}) == {"a": 0.0}


def test_a_clock_that_was_set_back_delays_or_hastens_a_scan(tmp_path, monkeypatch):
    memory = tmp_path / "looks.json"
    Observations(memory).update({"a": "1"})
    monkeypatch.setattr(time, "time", lambda: 1_000_000_000.0)
    assert Observations(memory).update({"a": "1"})["a"] < 1.0


def test_a_settle_time_of_zero_is_accepted(tmp_path):
    with pytest.raises(UsageError) as caught:
        open_inbox(str(tmp_path), settle_s=0.0)
    assert caught.value.code == "no-settling"


def command(*options, cwd):
    run = "import sys; from synthct.flows.cli import app; sys.exit(app.command_line(sys.argv[1:]))"
    return subprocess.run(
        [sys.executable, "-c", run, "watch", *map(str, options)],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")}, cwd=cwd, capture_output=True,
        text=True, timeout=120, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["folder", "s3"])
def test_a_watcher_that_polls_once_never_predicts_anything(
    kind, request, release, patient, tmp_path
):
    """The example of the help and of the schedule, on a new inbox."""
    from synthct.data.writers import write_image

    write_image(tmp_path / "in" / "Smith John.mha", patient)
    inbox = str(tmp_path / "in")
    if kind == "s3":
        import s3fs

        inbox = f"{request.getfixturevalue('s3')}/{tmp_path.name}/in"
        s3fs.S3FileSystem().put_file(str(tmp_path / "in/Smith John.mha"), f"{inbox}/Smith John.mha")
    done = command(
        "--model", release, "--inbox", inbox, "--out", "out", "--once", "--plain", "--settle", 1,
        "--no-tta", "--threads", 1, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[1] == "done"
    (report,) = Outbox(tmp_path / "out").reports()
    assert report["status"] == "done"
    look = json.loads((tmp_path / "out/.looks/last.json").read_text())
    assert look["waiting"] == 0


def test_scans_that_wait_are_not_counted_for_the_exporter(folder, release, tmp_path):
    from synthct.flows.jobs.watch import watch
    from synthct.tasks.prediction.batch import BatchSettings

    class Restless(FolderInbox):
        def arrivals(self):
            slice_of(self.root, 0)
            return super().arrivals()

    said = []
    outbox = Outbox(tmp_path / "out")
    found = watch(
        Restless(folder, settle_s=SETTLE_S), outbox, BatchSettings(release), once=True, every_s=1.0,
        tell=print, say=said.append, home=None,
    )  # fmt: skip
    assert found == []
    assert said == ["1 entries are still changing and were not predicted; retry later"]
    look = json.loads((outbox.root / ".looks/last.json").read_text())
    assert look["waiting"] == 1


def test_a_clock_that_was_set_forward_makes_a_half_copied_scan_whole(tmp_path, monkeypatch):
    """Or the time of day of a machine that has been started anew."""
    memory, clock = tmp_path / "looks.json", time.time
    Observations(memory).update({"a": "1"})
    monkeypatch.setattr(time, "time", lambda: clock() + 3600.0)
    assert Observations(memory).update({"a": "1"})["a"] < 60.0
    monkeypatch.setattr("synthct.tasks.prediction.observations._BOOT", tmp_path / "looks.json")
    assert Observations(memory).update({"a": "1"})["a"] < 0.01


# Names of objects: any text, chosen by whoever may write to the bucket.

OUTSIDE = ["../x", "a/../../x", "/etc/passwd", "a//b", "./a", "a/.", "", "a\0b", "a\nb", "x" * 256]


@pytest.mark.parametrize("name", OUTSIDE)
def test_a_name_that_leads_out_of_the_folder_is_joined(name):
    with pytest.raises(DataError) as caught:
        object_path(name, where="here")
    assert caught.value.code == "object-name"
    assert not name or name not in str(caught.value)


@given(st.text(max_size=40))
def test_some_text_leads_out_of_the_folder(name):
    try:
        place = object_path(name, where="here")
    except DataError:
        return
    folder = Path("/private/scan")
    assert Path(os.path.normpath(folder / place)).is_relative_to(folder)
    assert place.as_posix() == name


def only(place):
    place.arrivals()
    time.sleep(0.3)
    (arrival,) = place.arrivals()
    return arrival


def test_an_object_that_is_overwritten_meanwhile_gives_a_mixture(prefix, tmp_path):
    place, put = prefix
    put("scan/a.dcm", b"first")
    put("scan/b.dcm", b"first")
    arrival = only(place)
    (tmp_path / "one").mkdir()
    assert (place.fetch(arrival, tmp_path / "one") / "b.dcm").read_bytes() == b"first"
    put("scan/b.dcm", b"other")
    (tmp_path / "two").mkdir()
    with pytest.raises(MachineError) as caught:
        place.fetch(arrival, tmp_path / "two")
    assert caught.value.code == "inbox-changed"


def test_an_object_that_is_overwritten_in_mid_download_gives_a_mixture(
    prefix, tmp_path, monkeypatch
):
    from synthct.tasks.prediction import prefix as module

    place, put = prefix
    put("scan/a.dcm", b"first")
    put("scan/b.dcm", b"first")
    arrival = only(place)
    download = module.download

    def meanwhile(system, path, target, listed):
        download(system, path, target, listed)
        put("scan/a.dcm", b"other")  # b is still to come

    monkeypatch.setattr(module, "download", meanwhile)
    (tmp_path / "got").mkdir()
    with pytest.raises(MachineError) as caught:
        place.fetch(arrival, tmp_path / "got")
    assert caught.value.code == "inbox-changed"


HOSTILE = ["scan/../../../planted", "../planted", "scan//planted", "scan/./planted", "scan/a\nb"]


@pytest.mark.parametrize("key", HOSTILE)
def test_an_object_is_written_outside_of_the_private_folder(key, tmp_path, monkeypatch):
    """The store's answer is ours: not every server stores such keys, but every client gets them."""
    from synthct.tasks.prediction import prefix as module

    class Hostile:
        def invalidate_cache(self): ...

        def find(self, root, detail):
            about = {"size": 7, "ETag": '"1d0258c2440a8d19e716292b231e3190"'}
            return {f"{root}/{key}": about, f"{root}/good/a.dcm": about}

        def get_file(self, path, target):
            Path(target).write_bytes(b"planted")

    monkeypatch.setattr(module, "connect", lambda url: (Hostile(), "bucket/in"))
    place = PrefixInbox("s3://bucket/in", settle_s=0.1)
    place.arrivals()
    time.sleep(0.15)
    private = tmp_path / "private" / "deep" / "er"
    private.mkdir(parents=True)
    codes = []
    for arrival in place.arrivals():
        try:
            place.fetch(arrival, private)
        except (DataError, MachineError) as fault:
            codes.append(fault.code)
    assert "object-name" in codes
    outside = [p for p in tmp_path.rglob("*") if p.is_file() and not p.is_relative_to(private)]
    assert outside == []


def test_a_name_that_is_a_file_and_a_folder_ends_the_watch(prefix, tmp_path):
    place, put = prefix
    put("scan/a", b"first")
    put("scan/a/b", b"second")
    with pytest.raises(DataError) as caught:
        place.fetch(only(place), tmp_path)
    assert caught.value.code == "object-name"
