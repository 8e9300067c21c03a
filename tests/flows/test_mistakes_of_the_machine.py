"""Everyday mistakes that are not of the command line: permissions, packages, ports, lost files.

Each is told in one line with the place and the remedy; nothing that was there is lost.
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

import synthct
from synthct.data.layout import Layout
from synthct.data.store.result_cache import LocalResults
from synthct.data.volume import Modality, Volume
from synthct.data.writers import write_image
from synthct.flows.cli.app import command_line
from synthct.flows.exits import FAILED, USAGE
from synthct.tasks.ingestion.params import IngestionParams
from synthct.tasks.ingestion.run import run
from synthct.tasks.models.description import ModelDescription, SourceScaling, TargetScaling
from synthct.tasks.pipeline.fanout import here
from synthct.tasks.pipeline.stage import StageContext
from tests.tasks.prediction.conftest import GRID, small_patient, write_release

ROOT = Path(__file__).parents[2]


def kept(place: Path) -> dict[str, tuple[int, int]]:
    """Size and time of every file."""
    files = (path for path in place.rglob("*") if path.is_file())
    return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in files}


@pytest.fixture(scope="module")
def place():
    """Good scans, a release, a folder that may not be written and a scan that may not be read."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        mr = small_patient()
        ct = np.where(mr.array > 100, 40.0 + mr.array / 20, -1000.0).astype(np.int16)
        write_image(folder / "mr.mha", mr)
        write_image(folder / "ct.mha", Volume(ct, GRID, Modality.CT))
        model = ModelDescription(
            source="mr", fold=0, network={"name": "toy"}, slices=3, patch_size=(32, 32), divisor=8,
            spacing_mm=(6.0, 2.0, 2.0), source_scaling=SourceScaling(),
            target_scaling=TargetScaling(),
        )  # fmt: skip
        write_release(folder / "release", model, (0.2,))
        (folder / "kept").mkdir()
        (folder / "kept" / "earlier.txt").write_text("mine")
        (folder / "kept").chmod(0o555)
        shutil.copy(folder / "mr.mha", folder / "secret.mha")
        (folder / "secret.mha").chmod(0o000)
        yield folder
        (folder / "kept").chmod(0o755)


def bound_by_permissions() -> None:
    """In the child before it starts: permissions bind root as well."""
    for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
        ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP


FORBIDDEN = [
    "predict --model {p}/release --input {p}/mr.mha --out {p}/kept/sct.mha",
    "predict --model {p}/release --input {p}/secret.mha --out {p}/sct.mha",
    "evaluate --prediction {p}/ct.mha --reference {p}/ct.mha --out {p}/kept/scores.json",
    "evaluate --prediction {p}/secret.mha --reference {p}/ct.mha",
    "register --fixed {p}/secret.mha --fixed-modality mr --moving {p}/ct.mha --moving-modality ct "
    "--out {p}/aligned",
    "view --source {p}/mr.mha --out {p}/kept/view.html --no-open",
]


@pytest.mark.parametrize("line", FORBIDDEN)
def test_no_permission_is_a_bug_with_a_traceback_or_costs_a_file(place, line):
    before = kept(place)
    done = subprocess.run(
        [sys.executable, "-m", "synthct.flows", *line.format(p=place).split()],
        capture_output=True, text=True, check=False, preexec_fn=bound_by_permissions,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
    )  # fmt: skip
    code, error = done.returncode, done.stderr
    (told,) = [each for each in error.splitlines() if each.startswith("synthct: ")]
    assert code in (FAILED, USAGE)
    assert "ermission denied" in told
    assert str(place) in told
    assert "permissions" in told
    assert "this is a bug" not in told
    assert kept(place) == before


@pytest.mark.parametrize(("package", "extra"), [("torch", "train"), ("dvc", "ops")])
def test_a_missing_extra_is_a_traceback_or_its_remedy_cannot_be_typed(
    package, extra, monkeypatch, capsys
):
    import synthct.flows.exits as exits

    def call() -> int:
        raise ModuleNotFoundError(f"No module named {package!r}", name=package)

    assert exits.guarded(call) == FAILED
    told = capsys.readouterr().err
    assert f"the package {package!r}, which this command needs, is not installed" in told
    assert f"pip install '.[{extra}]'" in told
    monkeypatch.setitem(sys.modules, package, None)  # as where it is absent
    monkeypatch.chdir(ROOT)
    if package == "torch":
        monkeypatch.delitem(sys.modules, "synthct.tasks.training.probe", raising=False)
        assert command_line(["run", "--dry-run"]) == FAILED
        assert "pip install '.[train]'" in capsys.readouterr().err


def test_a_port_in_use_is_taken_for_another_error(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(ROOT)
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        code = command_line(["serve", "--port", str(port)])
    told = capsys.readouterr().err
    assert code == FAILED
    assert str(port) in told
    assert "in use" in told


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A checkout with a folder of scans of two patients, ingested."""
    (tmp_path / ".dvc").mkdir()
    (tmp_path / "params.yaml").write_text("dataset: demo\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SYNTHCT_PSEUDONYM_KEY", "a key of more than sixteen characters")
    for number in (1, 2):
        scans(tmp_path / "scans", number)
    assert ingested() == (4, 0)
    return tmp_path


def scans(folder: Path, number: int) -> None:
    mr = small_patient()
    noise = np.random.default_rng(number).normal(0, 3, GRID.shape)
    body = mr.array > 100
    write_image(
        folder / f"P{number}" / "mr.mha", Volume(np.abs(mr.array + noise), GRID, Modality.MR)
    )
    ct = np.where(body, 40.0 + mr.array / 20 + noise, -1000.0).astype(np.int16)
    write_image(folder / f"P{number}" / "ct.mha", Volume(ct, GRID, Modality.CT))


def ingested() -> tuple[int, int]:
    """How many scans `synthct ingest` imported and how many it knew."""
    raw = synthct.ingest(["scans"], "data/raw/mine", dataset="mine")
    return len(raw.added), sum(row.status == "known" for row in raw.rows)


def test_an_added_patient_is_not_seen_or_costs_the_others(checkout):
    before = kept(checkout / "data")
    scans(checkout / "scans", 3)
    assert ingested() == (2, 4)
    after = kept(checkout / "data")
    changed = {Path(name).name for name in before if after[name] != before[name]}
    assert changed == {"dataset.json"}


def test_a_patient_removed_by_hand_stops_the_others_or_stays_away(checkout):
    """The others go on, the reason is listed, and the remedy that is named works."""
    raw = Path("data/raw/mine")
    gone = next(path for path in sorted(raw.iterdir()) if path.is_dir())
    shutil.rmtree(gone)
    context = StageContext(
        Layout(dataset="mine"), seed=1, units=LocalResults(checkout / "units"), fan_out=here
    )
    run(context, IngestionParams())
    (row,) = json.loads((context.artefact("ingestion") / "excluded.json").read_text())
    assert row["unit"] == gone.name
    assert row["problem"] == "the raw scan is missing"
    assert "ingest the scan again" in row["remedy"]
    ingested()
    assert gone.is_dir()
    run(context, IngestionParams())
    left = json.loads((context.artefact("ingestion") / "excluded.json").read_text())
    assert "raw-changed" not in {row["code"] for row in left}  # the two phantoms are alike


def test_a_deleted_artefact_is_not_made_again_or_makes_all_again(built_toy, run_stages):
    shutil.rmtree(built_toy.root / "out" / "two")
    built, _ = run_stages(built_toy)
    assert {each.name: each.how for each in built}["two"] in ("ran", "restored")
    assert all(each.how != "ran" for each in built if each.name != "two")
    assert (built_toy.root / "out/two/result.txt").read_text() == "scan one two\n"
