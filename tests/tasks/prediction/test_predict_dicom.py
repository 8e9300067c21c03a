"""From a DICOM series to a DICOM series: geometry, identity, and nothing more than is needed."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk

from synthct.data.errors import UsageError
from synthct.data.readers import read_scan
from synthct.data.volume import Grid, Modality, Volume
from synthct.data.writers.dicom import write_series
from synthct.tasks.prediction.options import PredictOptions
from synthct.tasks.prediction.predict import predict_file

ROOT = Path(__file__).resolve().parents[3]


def test_a_dicom_series_opens_as_one_volume_at_the_sources_geometry(release, dicom, tmp_path):
    predict_file(release, dicom, tmp_path / "sct")
    predict_file(release, dicom, tmp_path / "sct.mha")
    reader = sitk.ImageSeriesReader()
    names = reader.GetGDCMSeriesFileNames(str(tmp_path / "sct"))
    reader.SetFileNames(names)
    image = reader.Execute()
    scan = read_scan(dicom)
    np.testing.assert_allclose(image.GetOrigin()[::-1], scan.grid.origin_mm, atol=1e-4)
    np.testing.assert_allclose(image.GetSpacing()[::-1], scan.grid.spacing_mm, atol=1e-6)
    expected = read_scan(tmp_path / "sct.mha", Modality.CT).array
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), expected)
    header = pydicom.dcmread(names[0])
    assert (header.Modality, header.RescaleType) == ("CT", "HU")
    assert list(header.ImageType[:2]) == ["DERIVED", "SECONDARY"]
    assert "Not for clinical use" in header.DerivationDescription


def test_nothing_of_the_patient_enters_the_series_without_a_reference(release, dicom, tmp_path):
    result = predict_file(release, dicom, tmp_path / "sct")
    written = b"".join(file.read_bytes() for file in sorted((tmp_path / "sct").iterdir()))
    source = pydicom.dcmread(next(iter(sorted(dicom.iterdir()))))
    for secret in ("Secret", "19500203", "A77", "Planning", str(source.StudyInstanceUID)):
        assert secret.encode() not in written
        assert secret not in str(result)


def test_patient_study_and_frame_come_from_the_reference_and_the_series_is_new(
    release, dicom, tmp_path
):
    predict_file(release, dicom, tmp_path / "sct", dicom_reference=dicom)
    source = pydicom.dcmread(next(iter(sorted(dicom.iterdir()))))
    made = [pydicom.dcmread(file) for file in sorted((tmp_path / "sct").iterdir())]
    for keyword in (
        "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyInstanceUID",
        "AccessionNumber", "StudyDescription", "FrameOfReferenceUID",
    ):  # fmt: skip
        assert made[0][keyword].value == source[keyword].value, keyword
    assert {one.SeriesInstanceUID for one in made}.isdisjoint({source.SeriesInstanceUID})
    assert len({one.SOPInstanceUID for one in made}) == len(made)


def test_a_reference_of_another_place_or_frame_is_refused(release, dicom, patient, tmp_path):
    far = Grid(patient.grid.shape, patient.grid.spacing_mm, (900.0, 0.0, 0.0))
    for name, volume, frame in (
        ("far", Volume(patient.array, far, Modality.MR), "1.2.3.4"),
        ("frame", patient, "9.9.9"),
    ):
        write_series(
            tmp_path / name, volume, patient_id="X", study="s", series_description="d",
            attributes={"FrameOfReferenceUID": frame}, uid_seed="x",
        )  # fmt: skip
        with pytest.raises(UsageError) as caught:
            predict_file(release, dicom, tmp_path / "sct", dicom_reference=tmp_path / name)
        assert caught.value.code == "reference-elsewhere"
    assert not (tmp_path / "sct").exists()


def test_the_dicom_validator_finds_no_error(release, dicom, tmp_path):
    validator = shutil.which("dciodvfy")
    if validator is None:
        pytest.skip("dciodvfy is absent (Debian package dicom3tools)")
    predict_file(release, dicom, tmp_path / "with", dicom_reference=dicom)
    predict_file(release, dicom, tmp_path / "without")
    for name in ("with", "without"):
        file = min((tmp_path / name).iterdir())
        done = subprocess.run([validator, str(file)], capture_output=True, text=True)
        assert "Error" not in done.stdout + done.stderr
        assert "CTImage" in done.stdout + done.stderr


def test_a_real_mr_goes_from_dicom_to_dicom_at_its_own_geometry(
    shared_data, model, tmp_path, make_release
):
    scan = shared_data / "sts_mr_ct" / "STS_002" / "MR_T1_dicom"
    folder = make_release(tmp_path / "release", model, (0.3,))
    result = predict_file(
        folder, scan, tmp_path / "sct", dicom_reference=scan, options=PredictOptions(tta=False)
    )
    got = read_scan(tmp_path / "sct")
    assert got.modality is Modality.CT
    assert got.grid.is_close(read_scan(scan).grid)
    assert result["voxels_in_body"] > 100_000
    assert any("touches the edge" in note for note in result["notes"])  # the file is a crop


def test_bytes_do_not_depend_on_when_or_where_it_ran(release, dicom, tmp_path):
    for name in ("one", "two"):
        predict_file(release, dicom, tmp_path / name, dicom_reference=dicom)
    first, second = (
        [file.read_bytes() for file in sorted((tmp_path / name).iterdir())]
        for name in ("one", "two")
    )
    assert first == second


BLOCKER = """
import importlib.abc, sys
class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {BLOCKED}:
            raise ModuleNotFoundError(f"blocked: {{name}}", name=name)
sys.meta_path.insert(0, Absent())
from pathlib import Path
{CALL}
assert not set(sys.modules) & {BLOCKED}
"""
FUNCTION = """
from synthct.tasks.prediction.predict import predict_file
result = predict_file(*map(Path, sys.argv[1:4]), uncertainty=Path(sys.argv[4]))
assert result["networks"] == 2
"""
COMMAND = """
from synthct.flows.cli.app import command_line
model, scan, out, spread = sys.argv[1:5]
options = ["--model", model, "--input", scan, "--out", out, "--uncertainty", spread]
assert command_line(["predict", *options, "--dicom-reference", scan]) == 0
assert command_line(["verify", "--model", model]) == 0
assert command_line(["predict", "--help"]) == 0
"""
ABSENT = {
    "torch", "monai", "zarr", "numcodecs", "fsspec", "s3fs", "nibabel", "skimage", "matplotlib",
    "onnx", "onnxscript", "prefect", "dask", "distributed", "dvc", "prometheus_client", "psutil",
}  # fmt: skip
"""Everything in the extras `train` and `ops` that is imported by name."""


@pytest.mark.parametrize("call", [FUNCTION, COMMAND])
def test_it_runs_with_the_base_dependencies_alone(release, dicom, tmp_path, call):
    script = BLOCKER.replace("{{", "{").replace("}}", "}").replace("{BLOCKED}", repr(ABSENT))
    script = script.replace("{CALL}", call)
    paths = [str(path) for path in (release, dicom, tmp_path / "sct", tmp_path / "sd.nii.gz")]
    ran = subprocess.run(
        [sys.executable, "-c", script, *paths],
        cwd=tmp_path, env={"PYTHONPATH": str(ROOT / "src"), "PATH": "/usr/bin:/bin"},
        capture_output=True, text=True,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    assert len(list((tmp_path / "sct").iterdir())) == 12
