from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from synthct.data.errors import MachineError, UsageError
from synthct.data.files import content_hash
from synthct.data.readers import read_scan
from synthct.data.volume import Modality
from synthct.data.writers import write_image
from synthct.data.writers.dicom import write_series
from synthct.tasks.prediction import batch
from synthct.tasks.prediction.batch import BatchSettings, predict_waiting, waiting
from synthct.tasks.prediction.checksums import write_checksums
from synthct.tasks.prediction.inbox import FolderInbox, PrefixInbox, open_inbox
from synthct.tasks.prediction.outbox import Outbox

ROOT = Path(__file__).resolve().parents[3]
OPTIONS = {"tta": False, "threads": 1}


@pytest.fixture
def inbox(tmp_path, patient):
    """A file, a DICOM folder and a scan of two slices, with names that identify."""
    folder = tmp_path / "in"
    write_image(folder / "Smith John.mha", patient)
    other = patient.with_array(patient.array * np.float32(1.1))
    write_series(
        folder / "Doe Jane", other, patient_id="Doe^Jane", study="s", series_description="T1",
        uid_seed="x",
    )  # fmt: skip
    write_image(folder / "thin.mha", patient.crop((0, 0, 0), (3, 48, 40)))
    return folder


@pytest.fixture
def outbox(tmp_path):
    return Outbox(tmp_path / "out")


@pytest.fixture
def settings(release):
    return BatchSettings(model=release, options=OPTIONS)


SETTLE_S = 0.2


def looked_at(place):
    """The inbox after a first look, and the while after which it takes what has not changed."""
    place.settle_s = SETTLE_S
    place.arrivals()
    time.sleep(1.1 * SETTLE_S)
    return place


def statuses(results):
    return sorted(result.status for result in results)


def test_each_scan_is_predicted_once_and_a_bad_one_does_not_sink_the_others(
    inbox, outbox, settings, tmp_path
):
    place = looked_at(FolderInbox(inbox))
    assert statuses(predict_waiting(place, outbox, settings)) == ["done", "done", "quarantined"]
    before = content_hash(outbox.root)
    assert list(predict_waiting(place, outbox, settings)) == []  # nothing waits any more
    assert content_hash(outbox.root) == before
    reports = outbox.reports()
    assert [report["status"] for report in reports] == ["done", "done", "quarantined"]
    assert reports[-1]["code"] == "few-slices"
    for report in reports[:2]:
        made = read_scan(outbox.done / report["name"] / "sct.mha", Modality.CT)
        assert made.array.max() > 0
    everything = "".join(p.relative_to(outbox.root).as_posix() for p in outbox.root.rglob("*"))
    everything += "".join(p.read_text() for p in outbox.root.rglob("report.json"))
    assert not [name for name in ("Smith", "Doe", "thin", str(tmp_path)) if name in everything]


def test_the_same_bytes_under_two_names_are_one_scan_and_changed_bytes_another(
    inbox, outbox, settings, patient
):
    (inbox / "copy.mha").write_bytes((inbox / "Smith John.mha").read_bytes())
    place = looked_at(FolderInbox(inbox))
    assert len(waiting(place, outbox, settings)) == 3
    write_image(inbox / "copy.mha", patient.with_array(patient.array * np.float32(0.9)))
    assert len(waiting(looked_at(place), outbox, settings)) == 4


def test_another_release_predicts_anew_and_the_same_does_not(inbox, outbox, settings, release):
    place = looked_at(FolderInbox(inbox))
    first = {key for key, _ in waiting(place, outbox, settings)}
    assert {key for key, _ in waiting(place, outbox, settings)} == first
    (release / "card.json").write_text('{"not_for_clinical_use": "other"}')
    write_checksums(release)
    assert {key for key, _ in waiting(place, outbox, settings)}.isdisjoint(first)


def test_what_is_still_being_written_waits(inbox, outbox, settings):
    assert waiting(FolderInbox(inbox, settle_s=60), outbox, settings) == []
    for name in ("late.mha.part", ".hidden.mha"):
        (inbox / name).write_bytes(b"half")
    assert len(waiting(looked_at(FolderInbox(inbox)), outbox, settings)) == 3


def test_a_claimed_scan_is_left_to_its_claimer(inbox, outbox, settings):
    place = looked_at(FolderInbox(inbox))
    (key, arrival), *_ = waiting(place, outbox, settings)
    with outbox.claim(key) as handle:
        assert handle is not None
        assert batch.predict_arrival(key, arrival, place, outbox, settings).status == "busy"
    assert not outbox.settled(key)


def test_a_fault_of_the_machine_stops_and_records_nothing(inbox, outbox, release, settings):
    content = bytearray((release / "fold0.onnx").read_bytes())
    content[50] ^= 1
    (release / "fold0.onnx").write_bytes(content)
    with pytest.raises(UsageError) as caught:
        list(predict_waiting(looked_at(FolderInbox(inbox)), outbox, settings))
    assert caught.value.code == "release-damaged"
    assert outbox.reports() == []


def test_a_scan_that_kills_its_worker_is_set_aside_after_a_second_try(
    inbox, outbox, settings, monkeypatch
):
    def die(*arguments):
        raise batch._Died("the worker was killed by signal 9")

    monkeypatch.setattr(batch, "_in_child", die)
    place = looked_at(FolderInbox(inbox))
    assert statuses(predict_waiting(place, outbox, settings)) == ["crashed"] * 3
    assert statuses(predict_waiting(place, outbox, settings)) == ["quarantined"] * 3
    assert {report["code"] for report in outbox.reports()} == {"worker-died"}
    assert waiting(place, outbox, settings) == []


def test_a_worker_that_is_killed_is_distinguished_from_a_fault(inbox, outbox, settings, tmp_path):
    place = looked_at(FolderInbox(inbox))
    (key, arrival), *_ = waiting(place, outbox, settings)
    limited = BatchSettings(model=settings.model, options={"no_such_option": 1})
    result = batch.predict_arrival(key, arrival, place, outbox, limited)
    assert result.status == "crashed"
    assert "no_such_option" in result.message


@pytest.mark.slow
def test_names_are_kept_only_when_asked_for(inbox, outbox, settings):
    named = BatchSettings(
        model=settings.model, options=OPTIONS, keep_names=True, form="dicom", identified=True
    )
    list(predict_waiting(looked_at(FolderInbox(inbox)), outbox, named))
    names = sorted(folder.name[:-17] for folder in outbox.done.iterdir())
    assert names == ["Doe_Jane", "Smith_John"]
    series = next(outbox.done.glob("Doe_Jane*")) / "sct"
    assert read_scan(series).modality is Modality.CT
    assert b"Doe^Jane" in next(series.iterdir()).read_bytes()


def test_a_release_that_is_not_there_is_found_out_by_the_first_scan(tmp_path, outbox):
    (tmp_path / "empty").mkdir()
    settings = BatchSettings(model=tmp_path / "relaese", options=OPTIONS)
    with pytest.raises(UsageError, match="relaese: there is no such folder"):
        waiting(FolderInbox(tmp_path / "empty"), outbox, settings)


def test_an_inbox_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UsageError) as caught:
        open_inbox(str(tmp_path / "none"), settle_s=SETTLE_S)
    assert caught.value.code == "no-inbox"


def test_bytes_that_change_under_the_reader_are_not_predicted(inbox, tmp_path):
    place = looked_at(FolderInbox(inbox))
    arrival = next(one for one in place.arrivals() if one.name.startswith("Smith"))
    (inbox / arrival.name).write_bytes(b"other")
    with pytest.raises(MachineError) as caught:
        place.fetch(arrival, tmp_path)
    assert caught.value.code == "inbox-changed"


WATCHER = """
import sys, time
from pathlib import Path
from synthct.tasks.prediction.batch import BatchSettings, predict_waiting
from synthct.tasks.prediction.inbox import FolderInbox
from synthct.tasks.prediction.outbox import Outbox
settings = BatchSettings(model=Path(sys.argv[1]), options={"tta": False, "threads": 1})
inbox, outbox = FolderInbox(Path(sys.argv[2]), settle_s=0.1), Outbox(Path(sys.argv[3]))
inbox.arrivals()
time.sleep(0.15)
for result in predict_waiting(inbox, outbox, settings):
    print(result.key[:16], result.status, flush=True)
"""


def start_watcher(release, inbox, out):
    return subprocess.Popen(
        [sys.executable, "-c", WATCHER, str(release), str(inbox), str(out)],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")}, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip


@pytest.mark.slow
def test_killed_again_and_again_each_scan_is_there_exactly_once(release, patient, outbox, tmp_path):
    inbox = tmp_path / "many"
    for number in range(6):
        scan = patient.with_array(patient.array + np.float32(number))
        write_image(inbox / f"{number}.mha", scan)
    undisturbed = Outbox(tmp_path / "calm")
    started = time.monotonic()
    start_watcher(release, inbox, undisturbed.root).communicate()
    whole_s = time.monotonic() - started  # the kills come at this machine's own pace
    draw = random.Random(5)
    published: dict[str, int] = {}
    for _ in range(60):
        watcher = start_watcher(release, inbox, outbox.root)
        time.sleep(draw.uniform(0.15, 0.6) * whole_s)
        ended = watcher.poll() == 0
        watcher.send_signal(signal.SIGKILL)
        told, _ = watcher.communicate()
        ended = ended and "busy" not in told  # the last watcher's worker was still on its way out
        before = len(published)
        for folder in outbox.done.glob("*") if outbox.done.is_dir() else ():
            if folder.name.startswith("."):
                continue
            assert {file.name for file in folder.iterdir()} == {"sct.mha", "report.json"}
            inode = folder.stat().st_ino
            assert published.setdefault(folder.name, inode) == inode  # never written twice
        if ended:
            break
        whole_s *= 1.2 if len(published) == before else 1.0
    assert len(published) == 6
    assert not outbox.quarantine.exists()
    for name in published:
        assert content_hash(outbox.done / name) == content_hash(undisturbed.done / name)


def test_a_kill_in_the_middle_leaves_nothing_half_and_the_next_run_finishes(
    release, patient, outbox, tmp_path
):
    inbox = tmp_path / "one"
    write_image(inbox / "a.mha", patient)
    watcher = start_watcher(release, inbox, outbox.root)
    deadline = time.monotonic() + 60
    while not list(outbox.root.glob("done/.*.building")) and time.monotonic() < deadline:
        time.sleep(0.02)
    watcher.send_signal(signal.SIGKILL)
    watcher.communicate()
    assert [p.name for p in outbox.done.iterdir() if not p.name.startswith(".")] == []
    deadline = time.monotonic() + 60
    while not outbox.reports() and time.monotonic() < deadline:
        done, _ = start_watcher(release, inbox, outbox.root).communicate()
    assert done.split()[1] == "done"
    assert len(list(outbox.done.iterdir())) == 1  # the half-built folder is gone too


def test_an_s3_prefix_is_watched_like_a_folder(s3, inbox, outbox, settings):
    import s3fs

    system = s3fs.S3FileSystem()
    prefix = f"{s3}/incoming"
    for file in (inbox / "Doe Jane").iterdir():
        system.put_file(str(file), f"{prefix}/Doe Jane/{file.name}")
    place = looked_at(PrefixInbox(prefix))
    assert statuses(predict_waiting(place, outbox, settings)) == ["done"]
    assert list(predict_waiting(place, outbox, settings)) == []
    (folder,) = outbox.done.iterdir()
    assert json.loads((folder / "report.json").read_text())["status"] == "done"
    assert read_scan(folder / "sct.mha", Modality.CT).grid.shape == (12, 48, 40)


@pytest.mark.slow
def test_prefect_shows_each_scan_by_its_key_and_never_by_its_name(
    inbox, outbox, settings, tmp_path
):
    home = tmp_path / "prefect"
    options = ["--model", settings.model, "--inbox", inbox, "--out", outbox.root, "--settle", 0.5]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "PREFECT_HOME": str(home)}
    environment.pop("PREFECT_API_URL", None)
    run = "import sys; from synthct.flows.cli import app; sys.exit(app.command_line(sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-c", run, "watch", *map(str, options), "--once", "--no-tta"],
        env=environment, cwd=ROOT, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 3, done.stderr  # done, but one scan was set aside
    reports = outbox.reports()
    assert sorted(report["status"] for report in reports) == ["done", "done", "quarantined"]
    kept = b"".join(file.read_bytes() for file in outbox.root.rglob("*.db*"))
    assert kept
    for report in reports:
        assert report["scan"].encode() in kept  # the source run bears the key
    for name in (b"Smith", b"Doe", b"thin.mha"):
        assert name not in kept
        assert name not in done.stdout.encode() + done.stderr.encode()
