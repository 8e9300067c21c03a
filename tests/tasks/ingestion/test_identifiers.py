"""No planted identifier leaves ingestion: not in copies, names, tables, logs, events, the flow."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from synthct.data.layout import Layout
from synthct.data.store.result_cache import open_result_cache
from synthct.tasks.ingestion.params import IngestionParams
from synthct.tasks.ingestion.run import run as ingestion
from synthct.tasks.pipeline.fanout import here
from synthct.tasks.pipeline.stage import StageContext
from tests.fixtures.identifier_search import search_flow
from tests.fixtures.identifiers import files_below, leaks, plant, random_body

ROOT = Path(__file__).resolve().parents[3]
KEY = "a key of more than sixteen characters"
PARAMS = "dataset: planted\ncohort: null\nmax_excluded_fraction: 1.0\n"


def environment(tmp_path: Path) -> dict[str, str]:
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("SYNTHCT", "PREFECT"))}
    return inherited | {
        "SYNTHCT_PSEUDONYM_KEY": KEY,
        "SYNTHCT_UNITS": str(tmp_path / "units"),
        "SYNTHCT_EVENTS": str(tmp_path / "events.jsonl"),
        "PREFECT_HOME": str(tmp_path / "prefect"),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(tmp_path / "root" / "src"),
        "DVC_NO_ANALYTICS": "1",
        "DO_NOT_TRACK": "1",
    }


def run(tmp_path, root, *command):
    done = subprocess.run(command, cwd=root, env=environment(tmp_path), capture_output=True)
    assert done.returncode in (0, 3), done.stderr.decode()[-2000:]
    return done.stdout + done.stderr


def ingest(tmp_path, root, *sources):
    """The command as a person types it, as table and as JSON; everything that it says."""
    call = ("synthct", "ingest", *map(str, sources), "--dataset", "planted")
    return run(tmp_path, root, *call) + run(tmp_path, root, *call, "--json")


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    root = tmp_path / "root"
    for room in ("data", "tasks", "flows"):  # a stage runs the code of the checkout it stands in
        unwanted = shutil.ignore_patterns("raw", "artefacts", "__pycache__")
        shutil.copytree(ROOT / room, root / room, ignore=unwanted)
    shutil.copytree(ROOT / "src", root / "src", symlinks=True, ignore=unwanted)
    (root / ".dvc").mkdir()
    (root / ".dvc" / "config").write_text(
        "[core]\n    no_scm = true\n    analytics = false\n    check_update = false\n"
    )
    (root / "params.yaml").write_text(PARAMS)
    monkeypatch.chdir(root)
    monkeypatch.setenv("SYNTHCT_UNITS", str(tmp_path / "units"))
    monkeypatch.setenv("SYNTHCT_EVENTS", str(tmp_path / "events.jsonl"))
    return root


def stage(checkout, capfd):
    """The stage ingestion on what was taken in; everything that it says."""
    context = StageContext(
        Layout(dataset="planted"), 1, open_result_cache(), here, max_excluded_fraction=1.0
    )
    ingestion(context, IngestionParams())
    assert (checkout / "data/artefacts/ingestion/quality.csv").is_file()
    told = capfd.readouterr()
    return (told.out + told.err).encode()


def all_that_was_written(tmp_path, said):
    folders = [tmp_path / name for name in ("root", "units", "prefect")]
    events = tmp_path / "events.jsonl"
    yield "what the commands said", said
    yield "events", events.read_bytes() if events.is_file() else b""
    yield from files_below(*(folder for folder in folders if folder.is_dir()))


def test_no_planted_identifier_leaves_ingestion(tmp_path, checkout, capfd):
    secrets = plant(tmp_path / "pacs", *random_body(1), 1)
    assert len(set(secrets)) >= 300
    said = ingest(tmp_path, checkout, tmp_path / "pacs")
    assert b"6 imported" in said  # two pairs, structures, a dose
    said += stage(checkout, capfd)
    assert list(leaks(secrets, all_that_was_written(tmp_path, said))) == []


def test_the_search_would_find_a_leak(tmp_path):
    secrets = plant(tmp_path / "pacs", *random_body(2), 2)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "log").write_bytes(b"reading " + secrets[7] + b"\n")
    assert list(leaks(secrets, files_below(tmp_path / "out"))) == [f"{secrets[7].decode()} in log"]
    assert set(leaks(secrets, files_below(tmp_path / "pacs")))


@pytest.mark.slow
@pytest.mark.parametrize("number", range(2, 52))
def test_no_planted_identifier_leaves_ingestion_in_fifty_data_sets(
    tmp_path, checkout, capfd, number
):
    secrets = plant(tmp_path / "pacs", *random_body(number), number)
    said = ingest(tmp_path, checkout, tmp_path / "pacs")
    said += stage(checkout, capfd)
    assert list(leaks(secrets, all_that_was_written(tmp_path, said))) == []


@pytest.mark.slow
def test_no_planted_identifier_reaches_the_flow_its_database_report_or_metrics(tmp_path):
    searched = search_flow(tmp_path)
    assert searched.secrets >= 300
    assert searched.leaks == ()
