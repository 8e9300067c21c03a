"""A change costs what depends on it, a new patient one patient, a kill what was in flight."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time

import pytest

STAGES_AFTER = {
    "report": {"report"},
    "export": {"export", "report"},
    "evaluation": {"evaluation", "export", "report"},
}


def stages_run(told: str) -> set[str]:
    return {line.split("'")[1] for line in told.splitlines() if line.startswith("Running stage")}


def units_of(checkout, stage: str) -> dict[str, str]:
    lock = json.loads((checkout.root / "data/artefacts" / stage / "units.json").read_text())
    return {name: entry["key"] for name, entry in lock.items()}


def test_a_parameter_of_the_report_reruns_more_than_the_report(reproduced, copy_of):
    changed = copy_of(reproduced, "report-param")
    changed.set_params("slices_per_case: 3", "slices_per_case: 2")
    assert stages_run(changed.run("dvc", "repro").stdout) == {"report"}


def test_a_new_patient_after_clone_and_pull_costs_more_than_one_patient(reproduced, copy_of):
    """The store is empty, the outs are pulled: only the new patient is ingested and registered."""
    source = copy_of(reproduced, "pushed")
    source.run("dvc", "push")
    fresh = copy_of(reproduced, "fresh")
    shutil.rmtree(fresh.units)
    shutil.rmtree(fresh.root / ".dvc" / "cache")
    shutil.rmtree(fresh.root / "data" / "artefacts")
    shutil.rmtree(fresh.root / "data" / "raw" / "demo")
    remote = str(source.root / ".synthct" / "dvc-remote")
    fresh.run("dvc", "remote", "modify", "--local", "local", "url", remote)
    fresh.run("dvc", "pull")
    assert fresh.outs() == reproduced.outs()
    before = {
        stage: units_of(fresh, stage)
        for stage in ("cohort", "ingestion", "registration")
        if stage != "cohort"
    }
    fresh.set_params("patients_per_region: 2", "patients_per_region: 3")
    told = ""
    for stage in ("cohort", "ingestion", "registration"):
        told += fresh.run("dvc", "repro", "--single-item", stage).stderr
    assert "ingestion: 3 units, 2 reused" in told
    assert "registration: 6 units, 4 reused" in told  # an MR and a CBCT each
    for stage, keys in before.items():
        assert keys.items() <= units_of(fresh, stage).items()


@pytest.mark.slow
def test_a_kill_in_registration_loses_finished_cases(reproduced, copy_of):
    killed = copy_of(reproduced, "killed")
    shutil.rmtree(killed.root / ".dvc" / "cache")
    shutil.rmtree(killed.root / "data/artefacts/registration")
    for key in units_of(reproduced, "registration").values():
        shutil.rmtree(killed.units / key[:2] / key)
    process = subprocess.Popen(
        ["dvc", "repro", "registration"], cwd=killed.root, env=killed.environment,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    before = killed.published()
    deadline = time.monotonic() + 120
    while len(killed.published()) == len(before) and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    finished = killed.published() - before
    assert finished, "the first case never finished"
    assert not (killed.root / "data/artefacts/registration").exists()
    told = killed.run("dvc", "repro", "registration").stderr
    total = len(units_of(reproduced, "registration"))
    assert f"registration: {total} units, {len(finished)} reused" in told
    assert units_of(killed, "registration") == units_of(reproduced, "registration")
