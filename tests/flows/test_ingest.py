"""``synthct ingest`` and ``synthct key`` as they are typed."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import numpy as np
import pytest

from synthct.data.volume import Grid, Modality, Volume
from synthct.data.writers import write_image
from synthct.flows.cli.app import command_line
from synthct.flows.exits import CLEAN, EXCLUSIONS, USAGE

ROOT = Path(__file__).resolve().parents[2]
SHAPE = (12, 24, 28)


@pytest.fixture(autouse=True)
def _here(monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("SYNTHCT_PSEUDONYM_KEY", "a key of more than sixteen characters")


def write(path, modality, seed=0):
    """A textured body in air."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: SHAPE[1], : SHAPE[2]]
    body = ((y - 12) / 9) ** 2 + ((x - 14) / 11) ** 2 < 1
    wave = 60 * np.sin(x / 3 + seed) + 40 * np.cos(y / 4)
    tissue, air = (40 + wave, -1000.0) if modality is Modality.CT else (300 + wave, 0.0)
    array = np.where(body, tissue, air) + np.linspace(0, 8, SHAPE[0])[:, None, None]
    array = np.abs(array) if modality is Modality.MR else array
    array = array + rng.normal(0, 3, SHAPE)
    write_image(path, Volume(array.astype(np.float32), Grid(SHAPE, (4.0, 8.0, 8.0)), modality))


def ingest(capsys, *arguments):
    code = command_line(["ingest", *map(str, arguments), "--dataset", "nobody", "--dry-run"])
    return code, capsys.readouterr()


def test_the_layout_is_called_by_its_name(tmp_path, capsys):
    for number, name in enumerate(("case001", "case002")):
        write(tmp_path / "flat" / f"{name}_ct.mha", Modality.CT, number)
        write(tmp_path / "flat" / f"{name}_mr.mha", Modality.MR, number)
    code, shown = ingest(capsys, tmp_path / "flat", "--json")
    document = json.loads(shown.out)
    assert code == CLEAN
    assert document["notes"][0].startswith("source 1: 4 image files organised as one flat folder")
    people = {}
    for row in document["scans"]:
        people.setdefault(row["patient"], set()).add(row["scan"])
    assert list(people.values()) == [{"ct", "mr"}] * 2
    assert "case00" not in shown.out + shown.err


def test_scans_that_are_nobodys_are_refused_and_the_manifest_to_fill_in_decides(tmp_path, capsys):
    write(tmp_path / "flat" / "Mueller_ct.mha", Modality.CT)
    write(tmp_path / "flat" / "4711_mr.mha", Modality.MR)
    manifest = tmp_path / "flat" / "m.csv"
    code, shown = ingest(capsys, tmp_path / "flat", "--write-manifest", manifest)
    assert code == EXCLUSIONS
    assert "--write-manifest" in shown.err
    assert "Mueller" not in shown.out + shown.err
    assert stat.S_IMODE(manifest.stat().st_mode) == 0o600
    lines = manifest.read_text().splitlines()
    assert lines[0] == "path,patient,modality,region,about"
    assert [line.split(",")[:3] for line in lines[1:]] == [
        ["4711_mr.mha", "", "MR"], ["Mueller_ct.mha", "", "CT"],
    ]  # fmt: skip
    manifest.write_text(manifest.read_text().replace(".mha,,", ".mha,4711,"))
    code, shown = ingest(capsys, tmp_path / "flat", "--manifest", manifest, "--json")
    rows = json.loads(shown.out)["scans"]
    assert code == CLEAN
    assert [row["status"] for row in rows] == ["new", "new"]
    assert len({row["patient"] for row in rows}) == 1


def test_a_filled_in_manifest_is_not_overwritten(tmp_path, capsys):
    write(tmp_path / "P1" / "ct.mha", Modality.CT)
    manifest = tmp_path / "m.csv"
    manifest.write_text("hours of work")
    code, shown = ingest(capsys, tmp_path / "P1", "--write-manifest", manifest)
    assert code == USAGE
    assert "the file exists already" in shown.err
    assert manifest.read_text() == "hours of work"


def test_without_a_key_nothing_is_taken_in_and_the_way_to_one_is_reported(
    tmp_path, capsys, monkeypatch
):
    monkeypatch.delenv("SYNTHCT_PSEUDONYM_KEY")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    write(tmp_path / "P1" / "ct.mha", Modality.CT)
    code, shown = ingest(capsys, tmp_path / "P1")
    assert code == USAGE
    assert "synthct key --new" in shown.err
    assert command_line(["key", "--new"]) == CLEAN
    made = capsys.readouterr().out
    assert command_line(["key"]) == CLEAN
    assert capsys.readouterr().out.strip() in made
    secret = next((tmp_path / "config").rglob("*.key")).read_text().strip()
    assert secret not in made
    assert command_line(["key", "--new"]) == USAGE
    assert ingest(capsys, tmp_path / "P1")[0] == CLEAN


def test_images_of_unknown_modality_are_not_passed_over_with_success(tmp_path, capsys):
    write(tmp_path / "flat" / "a_0000.mha", Modality.MR)
    write(tmp_path / "flat" / "a_0001.mha", Modality.CT)
    code, shown = ingest(capsys, tmp_path / "flat")
    assert code == EXCLUSIONS
    assert shown.err.count("write a manifest with --write-manifest") == 2


def test_nnunet_with_its_description_is_ingested_and_does_not_end_the_command(tmp_path, capsys):
    """The process that reads the description takes texts, no paths."""
    for number in range(2):
        for channel, kind in enumerate((Modality.MR, Modality.CT)):
            name = f"case_{number:03d}_{channel:04d}.mha"
            write(tmp_path / "set" / "imagesTr" / name, kind, number)
    names = {"channel_names": {"0": "T1", "1": "CT"}}
    (tmp_path / "set" / "dataset.json").write_text(json.dumps(names))
    code, shown = ingest(capsys, tmp_path / "set", "--json")
    document = json.loads(shown.out)
    assert code == CLEAN
    assert document["notes"] == ["source 1: 4 image files organised as nnU-Net"]
    assert [row["scan"] for row in document["scans"]] == ["ct", "mr"] * 2
    assert len({row["patient"] for row in document["scans"]}) == 2


def test_names_that_are_not_utf8_are_ingested_and_listed_in_the_manifest(tmp_path, capsys):
    """The pseudonym of such a patient ended the command."""
    people = tmp_path / "people"
    name = os.fsdecode(b"M\xfcller")
    try:
        (people / name).mkdir(parents=True)
    except OSError:
        pytest.skip("this file system keeps UTF-8 names only")
    for kind in (Modality.CT, Modality.MR):
        write(tmp_path / "scan.mha", kind)
        (tmp_path / "scan.mha").rename(people / name / f"{kind.lower()}.mha")
    manifest = tmp_path / os.fsdecode(b"\xe4.csv")
    code, shown = ingest(capsys, people, "--write-manifest", manifest, "--json")
    (patient,) = {row["patient"] for row in json.loads(shown.out)["scans"]}
    assert code == CLEAN
    saved = manifest.read_bytes()
    assert b"M\xfcller/ct.mha" in saved
    as_excel = saved.decode("cp1252").encode("utf-8-sig")
    for data in (saved, as_excel):
        manifest.write_bytes(data)
        code, shown = ingest(capsys, people, "--manifest", manifest, "--json")
        assert code == CLEAN
        assert {row["patient"] for row in json.loads(shown.out)["scans"]} == {patient}
