"""Several imports into one data set at once: none loses what another one wrote."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from synthct.tasks.ingestion.dataset import load_dataset
from synthct.tasks.intake import plan_intake, run_intake
from synthct.tasks.intake.write import WAITING, intake_lock
from tests.fixtures.intake import ingest, tree

pytestmark = pytest.mark.usefixtures("pseudonym_key")

RACE = """
import sys, time
from pathlib import Path
from synthct.tasks.intake import plan_intake, run_intake
source, raw, ready, go = map(Path, sys.argv[1:])
plan = plan_intake([source], "demo", raw)
ready.touch()
while not go.exists():
    time.sleep(0.01)
print(*run_intake(plan).added)
"""


def test_two_intakes_at_once_lose_no_patient(source, tmp_path):
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACE, str(source / name), str(tmp_path / "raw"),
             str(tmp_path / name), str(tmp_path / "go")],
            cwd=Path(__file__).resolve().parents[3], stdout=subprocess.PIPE, text=True,
        )
        for name in ("DOE123", "ROE456")
    ]  # fmt: skip
    deadline = time.monotonic() + 120
    while not all((tmp_path / name).exists() for name in ("DOE123", "ROE456")):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    (tmp_path / "go").touch()
    added = " ".join(racer.communicate(timeout=120)[0] for racer in racers).split()
    assert len(added) == 4
    patients = load_dataset(tmp_path / "raw").patients
    assert sorted(f"{p}/{scan}" for p, one in patients.items() for scan in one.scans) == sorted(
        added
    )


def test_two_checkouts_that_link_one_data_set_write_at_once_and_lose_patients(tmp_path):
    (tmp_path / "disk" / "trial").mkdir(parents=True)
    for checkout in ("one", "two"):
        (tmp_path / checkout / "raw").mkdir(parents=True)
        (tmp_path / checkout / "raw" / "trial").symlink_to(tmp_path / "disk" / "trial")
    told, entered = [], threading.Event()

    def second():
        with intake_lock(tmp_path / "two/raw/trial", told.append):
            entered.set()

    with intake_lock(tmp_path / "one/raw/trial"):
        other = threading.Thread(target=second, daemon=True)
        other.start()
        assert not entered.wait(0.5)
    other.join(30)
    assert entered.is_set()
    assert told == [WAITING]


def test_the_umask_of_one_person_locks_the_data_set_for_the_other(tmp_path):
    tmp_path.chmod(0o2770)
    before = os.umask(0o077)
    try:
        with intake_lock(tmp_path / "trial"):
            assert (tmp_path / ".trial.lock").stat().st_mode & 0o777 == 0o660
    finally:
        os.umask(before)


def test_what_another_intake_entered_meanwhile_stays(source, tmp_path):
    plan = plan_intake([source], "demo", tmp_path / "raw")
    ingest([source / "DOE123"], tmp_path / "raw")
    before = tree(tmp_path / "raw")
    result = run_intake(plan)
    assert (len(result.added), len(result.overtaken)) == (2, 2)
    after = tree(tmp_path / "raw")
    assert {name for name in before if after[name] != before[name]} == {"dataset.json"}
