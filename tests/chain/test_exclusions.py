"""One bad patient is listed and the chain goes on with the rest; the exit code says so."""

from __future__ import annotations

import json


def test_a_damaged_scan_sinks_the_cohort_or_passes_unseen(reproduced, copy_of):
    damaged = copy_of(reproduced, "damaged")
    slices = sorted((damaged.root / "data/raw/demo/TH-02/mr").glob("*.dcm"))
    slices[3].write_bytes(slices[3].read_bytes()[:500])
    done = damaged.run("python", "-m", "synthct.tasks", "ingestion")
    listed = json.loads((damaged.root / "data/artefacts/ingestion/excluded.json").read_text())
    assert [row["unit"].split("/")[0] for row in listed] == ["TH-02"]
    assert "excluded TH-02" in done.stderr
    assert "Traceback" not in done.stderr
    done = damaged.run("python", "-m", "synthct.tasks", "registration")
    made = {path.name for path in (damaged.root / "data/artefacts/registration").glob("TH-*")}
    assert "TH-01_mr" in made
    assert "TH-02_mr" not in made


def test_an_unknown_key_in_params_starts_something(reproduced, copy_of):
    wrong = copy_of(reproduced, "wrong")
    wrong.set_params("report:", "reprot:")
    done = wrong.run("python", "-m", "synthct.flows", "run", check=False)
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert "reprot: no such key (did you mean 'report'?)" in done.stderr


def test_a_regularizer_that_does_not_exist_is_reported_after_an_hour_of_registration(
    reproduced, copy_of
):
    wrong = copy_of(reproduced, "typo")
    wrong.set_params("{name: norm_loss, weight: 0.001}", "{name: norm_los, weight: 0.001}")
    done = wrong.run("python", "-m", "synthct.flows", "run", "--cluster", "here", check=False)
    assert done.returncode == 2
    assert "did you mean 'norm_loss'?" in done.stderr
    assert "to build" not in done.stdout + done.stderr
