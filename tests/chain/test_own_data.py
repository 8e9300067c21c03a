"""The tutorial on one's own scans, as it is typed, with two small patients."""

from __future__ import annotations

import json
import re

import pydicom
import pytest

from docs.make_first_hour import write_digital_patients

KEY = {"SYNTHCT_PSEUDONYM_KEY": "a key of more than sixteen characters"}


@pytest.mark.slow
def test_a_folder_of_scans_does_not_become_a_report_and_a_dicom_series(make_clone):
    mine = make_clone("mine")
    scans = mine.root.parent / "scans"
    write_digital_patients(scans, 2)

    def synthct(*words: str, code: int = 0) -> str:
        done = mine.run("python", "-m", "synthct.flows", *words, check=False, **KEY)
        assert done.returncode == code, f"{words}: {done.stdout}\n{done.stderr}"
        return done.stdout

    told = synthct("init", "mine", "--from", str(scans), "--steps", "6", "--licence", "CC0 1.0")
    assert told.splitlines()[-1] == "next: synthct run --preset mine"
    assert "expected: ingestion" in told
    planned = synthct("run", "--preset", "mine", "--dry-run")
    assert re.search(r"registration +\d+ (s|min \d+ s) +typical", planned)
    assert "GB of memory" in planned
    assert not (mine.root / "workspaces").exists()

    told = synthct("run", "--preset", "mine", "--cluster", "here")
    assert "registered   model" in told
    assert "report: workspaces/mine/artefacts/report/index.html" in told

    release = "workspaces/mine/artefacts/export/mr"
    card = json.loads((mine.root / release / "card.json").read_text())
    assert card["licence"]["of_the_data"]["name"] == "CC0 1.0"
    series = mine.root.parent / "sct"
    scan = str(scans / "P1" / "mr.nii.gz")
    synthct("predict", "--model", release, "--input", scan, "--out", str(series))
    slices = [pydicom.dcmread(file) for file in sorted(series.iterdir())]
    assert {each.Modality for each in slices} == {"CT"}
    assert len({each.SeriesInstanceUID for each in slices}) == 1
    assert len(slices) > 5

    evaluation = mine.root / "workspaces/mine/artefacts/evaluation"
    case = min(path.name for path in evaluation.glob("P-*/"))
    page = mine.root.parent / "view.html"
    synthct("view", case, "--preset", "mine", "--out", str(page), "--no-open")
    assert f"<h1>{case}</h1>" in page.read_text()
    synthct("run", "--preset", "mien", code=2)
