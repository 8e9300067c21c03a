"""``synthct init``: what is proposed follows from scans and machine, and is accepted by ``run``."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from synthct.data.errors import UsageError
from synthct.data.volume import Grid, Modality, Volume
from synthct.data.writers import write_image
from synthct.flows.cli.app import command_line
from synthct.flows.exits import CLEAN, USAGE
from synthct.flows.workspace.needs import disk_gb, memory_gb
from synthct.flows.workspace.proposal import Machine, fingerprint, preset_text, propose
from synthct.tasks.chain.params import parse_params
from synthct.tasks.intake.rows import IntakeRow
from synthct.tasks.training.check import check

LAPTOP, SERVER = Machine(cores=4, gpus=0), Machine(cores=32, gpus=2)


def row(patient, scan, *, size=(256, 256, 80), spacing=(1.0, 1.0, 3.0), status="new"):
    return IntakeRow(patient, scan, scan.upper(), "thorax", "dicom", size, spacing, status=status)


def rows(count, **changes):
    return [
        one
        for number in range(count)
        for one in (row(f"P{number}", "ct"), row(f"P{number}", "mr", **changes))
    ]


def proposed(found, machine):
    params = parse_params(preset_text(propose("mine", found, machine), found, machine), where="x")
    check(params.training)
    return params


def test_the_grid_is_that_of_the_scans_and_in_the_order_of_params():
    found = fingerprint(rows(12))
    assert found.spacing_mm == (3.0, 1.0, 1.0)
    assert proposed(found, SERVER).registration.grid_spacing_mm == (3.0, 1.0, 1.0)


def test_a_laptop_is_not_offered_days_of_training():
    params = proposed(fingerprint(rows(12)), LAPTOP)
    grid = params.registration.grid_spacing_mm
    assert 256 * 256 * 240 / np.prod(grid) == pytest.approx(1.5e6, rel=0.05)
    assert params.training.steps == 1500
    assert params.training.mr.patch_size == (64, 64)
    assert params.registration.variant == "demo"
    server = proposed(fingerprint(rows(12)), SERVER)
    assert server.training.mr.patch_size == (256, 256)
    assert server.registration.variant == "published"


def test_a_trial_trains_as_long_as_it_was_told():
    found = fingerprint(rows(4))
    document = propose("mine", found, LAPTOP, steps=60)
    params = parse_params(preset_text(document, found, LAPTOP), where="x")
    check(params.training)
    assert (params.training.steps, params.training.validation_every) == (60, 12)


def test_a_patch_is_never_larger_than_the_scans():
    small = fingerprint(rows(12, size=(150, 120, 40)))
    assert proposed(small, SERVER).training.mr.patch_size == (96, 96)


def test_few_patients_are_shown_as_a_demonstration_and_never_released():
    text = preset_text(propose("mine", fingerprint(rows(4)), LAPTOP), fingerprint(rows(4)), LAPTOP)
    params = parse_params(text, where="x")
    assert params.export.gate.when_refused == "demonstration"
    assert params.training.folds == 4
    assert "too few for a release" in text
    many = proposed(fingerprint(rows(10)), LAPTOP)
    assert many.export.gate.when_refused == "withhold"


def test_disk_grows_with_cases_and_voxels_and_memory_with_processes():
    few, many = fingerprint(rows(4)), fingerprint(rows(12))
    assert disk_gb(many, (3.0, 1.0, 1.0)) == pytest.approx(3 * disk_gb(few, (3.0, 1.0, 1.0)))
    assert disk_gb(few, (3.0, 2.0, 2.0)) == pytest.approx(disk_gb(few, (3.0, 1.0, 1.0)) / 4)
    assert memory_gb(4) == pytest.approx(2 * memory_gb(2), rel=0.1)
    assert memory_gb(1) > 0.05  # this process alone


def test_scans_without_a_partner_and_refused_ones_do_not_count():
    lonely = [row("P8", "mr"), row("P9", "ct"), row("P0", "cbct", status="refused")]
    found = fingerprint([*rows(3), *lonely])
    assert (found.patients, found.pairs) == (3, {"mr": 3})
    with pytest.raises(UsageError, match="1 patients have a CT and"):
        fingerprint([*rows(1), *lonely])


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    (tmp_path / ".dvc").mkdir()
    (tmp_path / "params.yaml").write_text("dataset: demo\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SYNTHCT_PSEUDONYM_KEY", "a key of more than sixteen characters")
    return tmp_path


def write(folder: Path, count: int):
    shape = (12, 24, 28)
    y, x = np.mgrid[: shape[1], : shape[2]]
    body = ((y - 12) / 9) ** 2 + ((x - 14) / 11) ** 2 < 1
    for number in range(count):
        rng = np.random.default_rng(number)
        wave = 60 * np.sin(x / 3 + number) + 40 * np.cos(y / 4)
        for name, tissue, air in (("ct", 40.0, -1000.0), ("mr", 300.0, 0.0)):
            array = np.where(body, tissue + wave, air) + np.linspace(0, 8, shape[0])[:, None, None]
            array = np.abs(array + rng.normal(0, 3, shape)) if name == "mr" else array
            volume = Volume(array.astype(np.float32), Grid(shape, (4.0, 8.0, 8.0)), Modality.CT)
            write_image(folder / f"case{number:03d}_{name}.mha", volume)


def test_a_folder_is_understood_and_a_dry_run_writes_nothing(checkout, capsys):
    write(checkout / "scans", 2)
    before = sorted(checkout.rglob("*"))
    assert command_line(["init", "mine", "--from", "scans", "--dry-run"]) == CLEAN
    shown = capsys.readouterr().out
    assert re.search(r"mr: 2 networks of 1500 steps, \d+\.\d\d s a step here", shown)
    assert re.search(r"expected: ingestion \d.*, registration \d.*, training \d.*, report", shown)
    assert re.search(r"\d+\.\d GB of memory \(.*\), and at most \d+\.\d GB of disk", shown)
    assert "grid_spacing_mm: [4.0, 8.0, 8.0]" in shown
    assert shown.splitlines()[-1] == "next: synthct init mine --from scans"
    assert command_line(["init", "mine", "--from", "scans", "--dry-run", "--json"]) == CLEAN
    document = json.loads(capsys.readouterr().out)
    assert document["next"] == "synthct init mine --from scans"
    assert parse_params(document["proposed"], where="x").dataset == "mine"
    assert sorted(checkout.rglob("*")) == before


def test_one_patient_is_refused_before_anything_is_copied(checkout, capsys):
    write(checkout / "scans", 1)
    assert command_line(["init", "mine", "--from", "scans"]) == USAGE
    assert "training needs at least two patients" in capsys.readouterr().err
    assert not (checkout / "data").exists()
    assert not (checkout / "presets").exists()


def test_scans_that_nobody_can_tell_apart_are_not_left_without_a_manifest(checkout, capsys):
    write(checkout / "scans", 2)
    for number, file in enumerate(sorted((checkout / "scans").iterdir())):
        file.rename(file.with_name(f"case{number // 2}_{number % 2:04d}.mha"))
    assert command_line(["init", "mine", "--from", "scans"]) == USAGE
    shown = capsys.readouterr().err
    manifest = checkout / ".synthct" / "manifests" / "mine.csv"
    assert shown.count("the modality is unknown") == 4
    assert str(manifest.relative_to(checkout)) in shown
    lines = manifest.read_text().splitlines()
    filled = [line.replace(",,,,", f",case{n // 2},{['CT', 'MR'][n % 2]},,")
              for n, line in enumerate(lines[1:])]  # fmt: skip
    manifest.write_text("\n".join([lines[0], *filled]))
    words = ["init", "mine", "--from", "scans", "--dry-run", "--manifest", str(manifest)]
    assert command_line(words) == CLEAN
