"""A listing shows every scan of a source, and one bad file never hides the others."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

from synthct.data.readers import describe, find, read_scan
from synthct.data.readers.synthrad import case_folders
from synthct.data.volume import Modality, Volume
from synthct.data.writers import write_image


@pytest.fixture
def mixed(tmp_path, oblique, write_ct):
    root = tmp_path / "source"
    write_ct(root / "deep" / "er" / "ct", oblique, PatientID="P-1")
    mr = Volume(oblique.array, oblique.grid, Modality.MR)
    write_ct(root / "deep" / "mr", mr, series="t1", RepetitionTime=500.0)
    write_ct(root / "same-folder", oblique, series="a")
    for file in write_ct(tmp_path / "b", oblique, series="b"):
        file.rename(root / "same-folder" / f"b{file.name}")
    write_image(root / "case" / "ct.mha", oblique)
    with zipfile.ZipFile(root / "study.zip", "w") as archive:
        for file in write_ct(tmp_path / "z", oblique, series="zipped"):
            archive.write(file, f"in/{file.name}")
    (root / "readme.txt").write_text("not a scan")
    return root


def test_every_scan_of_a_mixed_source_is_a_row_that_can_be_read(mixed, oblique):
    rows = find(mixed)
    assert sorted((row.kind, row.place, row.format, str(row.modality)) for row in rows) == [
        ("scan", "case/ct.mha", "metaimage", "None"),
        ("scan", "deep/er/ct", "dicom", "CT"),
        ("scan", "deep/mr", "dicom", "MR"),
        ("scan", "same-folder", "dicom", "CT"),
        ("scan", "same-folder", "dicom", "CT"),
        ("scan", "study.zip/in", "dicom", "CT"),
    ]
    for row in rows:
        volume = row.read(None if row.format == "dicom" else Modality.CT)
        assert np.array_equal(volume.array, oblique.array)
        assert row.grid is not None
        assert row.grid.is_close(oblique.grid, 1e-6)
    ct = next(row for row in rows if row.place == "deep/er/ct")
    assert ct.header["PatientID"] == "P-1"
    assert len(ct.files) == 12
    assert next(row for row in rows if row.modality == "MR").sequence["repetition_time_ms"] == 500


def test_a_damaged_file_is_a_row_and_marks_the_series_beside_it(mixed):
    file = mixed / "deep" / "er" / "ct" / "0005.dcm"
    file.write_bytes(file.read_bytes()[:150])
    rows = find(mixed)
    broken = [row for row in rows if row.kind == "broken"]
    assert [row.place for row in broken] == ["deep/er/ct/0005.dcm"]
    assert broken[0].error is not None
    beside = {row.place: row.damaged_beside for row in rows if row.kind == "scan"}
    assert beside["deep/er/ct"] == "deep/er/ct/0005.dcm"
    assert beside["deep/mr"] == ""


def test_a_series_that_forms_no_volume_says_why(mixed):
    (mixed / "deep" / "er" / "ct" / "0005.dcm").unlink()
    row = next(row for row in find(mixed) if row.place == "deep/er/ct")
    assert row.grid is None
    assert row.error is not None
    assert row.error.code == "missing-slices"


def test_localizers_are_distinguished_from_scans(tmp_path, oblique, write_ct):
    write_ct(tmp_path / "s", oblique, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    assert [row.kind for row in find(tmp_path)] == ["localizer"]


def test_a_broken_zip_is_a_row(tmp_path, mixed):
    path = mixed / "study.zip"
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\x03\x04") + 200] ^= 1
    path.write_bytes(bytes(data))
    assert any(row.place.startswith("study.zip") and row.kind == "broken" for row in find(mixed))


@pytest.mark.parametrize(
    ("axis_mm", "panel_mm", "expected"),
    [(1000.0, 1500.0, "CBCT"), (None, 1500.02, "CBCT"), (1000.0, None, "CBCT"),
     (541.0, 949.1, "CT"), (570.0, 1040.0, "CT"), (None, None, "CT"), (0.0, 0.0, "CT")],
)  # fmt: skip
def test_the_geometry_of_a_treatment_machine_tells_cone_beam_ct(
    tmp_path, oblique, write_ct, axis_mm, panel_mm, expected
):
    facts = {"DistanceSourceToPatient": axis_mm, "DistanceSourceToDetector": panel_mm}
    facts = {name: value for name, value in facts.items() if value is not None}
    write_ct(tmp_path / "cbct", oblique, ManufacturerModelName="unknown", **facts)
    assert describe(tmp_path / "cbct").modality == expected


def test_case_folders_say_what_is_what(tmp_path, oblique):
    write_image(tmp_path / "1HNA001" / "ct.mha", oblique)
    write_image(tmp_path / "1HNA001" / "mr.mha", oblique)
    write_image(tmp_path / "1HNA001" / "mask.mha", oblique)
    write_image(tmp_path / "deep" / "2ABB022" / "ct.nii.gz", oblique)
    write_image(tmp_path / "deep" / "2ABB022" / "cbct.nii.gz", oblique)
    write_image(tmp_path / "lone" / "cbct.mha", oblique)
    first, second = case_folders(tmp_path)
    assert (first.name, first.region, set(first.scans)) == ("1HNA001", "head-neck", {"ct", "mr"})
    assert first.mask == tmp_path / "1HNA001" / "mask.mha"
    assert (second.region, set(second.scans), second.mask) == ("abdomen", {"ct", "cbct"}, None)


def test_two_series_of_one_folder_are_distinguished_by_their_uid(mixed, oblique):
    rows = [row for row in find(mixed) if row.place == "same-folder"]
    assert len({row.series for row in rows}) == 2
    for row in rows:
        assert np.array_equal(
            read_scan(mixed / "same-folder", series=row.series).array, oblique.array
        )


def test_a_relative_path_begins_where_the_caller_is_now_not_where_its_reader_began(
    tmp_path, oblique, monkeypatch
):
    for name in ("here", "there"):
        write_image(tmp_path / name / "ct.mha", oblique)
        monkeypatch.chdir(tmp_path / name)
        assert read_scan(Path("ct.mha"), Modality.CT).grid.shape == oblique.grid.shape
        assert [row.place for row in find(Path())] == ["ct.mha"]
