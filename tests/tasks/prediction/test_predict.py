from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk

from synthct.data.errors import DataError, SynthctError, UsageError
from synthct.data.itk import resample
from synthct.data.readers import read_scan
from synthct.data.volume import Grid, Modality, Volume
from synthct.data.writers import write_image
from synthct.data.writers.dicom import write_series
from synthct.tasks.fields.geometry import working_grid
from synthct.tasks.ingestion.params import IngestionParams
from synthct.tasks.ingestion.patient import check_scan
from synthct.tasks.models.normalise import scale_source, unscale_target
from synthct.tasks.prediction.predict import PredictOptions, predict_file
from synthct.tasks.prediction.prepare import prepare
from synthct.tasks.prediction.slab_resampling import on_grid

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def scan_file(tmp_path, patient):
    write_image(tmp_path / "scan.mha", patient)
    return tmp_path / "scan.mha"


@pytest.fixture
def dicom(tmp_path, patient):
    attributes = {
        "PatientBirthDate": "19500203", "PatientSex": "F", "AccessionNumber": "A77",
        "StudyDescription": "Planning", "FrameOfReferenceUID": "1.2.3.4", "PatientPosition": "HFS",
    }  # fmt: skip
    write_series(
        tmp_path / "dicom", patient, patient_id="Secret^Name", study="study",
        series_description="T1", attributes=attributes, uid_seed="hospital",
    )  # fmt: skip
    return tmp_path / "dicom"


def expected_hu(volume: Volume, body: np.ndarray, model) -> np.ndarray:
    scaled = scale_source(volume.array, body, model.source_scaling)
    mean = np.mean([np.tanh(np.float32(weight) * scaled) for weight in (0.2, 0.4)], axis=0)
    hu = np.rint(unscale_target(mean, model.target_scaling))
    return np.where(body > 0, hu, -1024)


def test_the_output_lies_on_the_inputs_grid_with_the_networks_mean(
    release, scan_file, patient, model, tmp_path
):
    result = predict_file(release, scan_file, tmp_path / "sct.mha")
    got = read_scan(tmp_path / "sct.mha", Modality.CT)
    body = prepare(patient, None, model).body
    assert got.grid.is_close(patient.grid)
    assert got.array.dtype == np.int16
    assert np.abs(got.array - expected_hu(patient, body.array, model)).max() <= 1
    assert result["networks"] == 2
    assert result["voxels_in_body"] == np.count_nonzero(body.array)


def test_the_surest_network_answers_alone_and_is_told_as_one(
    make_release, scan_file, patient, model, tmp_path
):
    # tanh(w z) turned over and back is itself: both members are sure, so the first listed stands.
    folder = make_release(tmp_path / "pool", model, (0.4, 0.2))
    result = predict_file(folder, scan_file, tmp_path / "one.mha", options=PredictOptions(surest=1))
    alone = make_release(tmp_path / "alone", model, (0.4,))
    predict_file(alone, scan_file, tmp_path / "same.mha")
    got, same = (read_scan(tmp_path / f"{n}.mha", Modality.CT).array for n in ("one", "same"))
    np.testing.assert_array_equal(got, same)
    assert result["networks"] == 1


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (PredictOptions(surest=3), "pool-keep"),
        (PredictOptions(surest=1, tta=False), "pool-no-spread"),
    ],
)
def test_a_choice_that_cannot_be_made_is_told_before_the_scan_is_read(
    release, tmp_path, options, code
):
    with pytest.raises(UsageError) as caught:
        predict_file(release, tmp_path / "not there", tmp_path / "sct.mha", options=options)
    assert caught.value.code == code


def test_a_given_mask_is_used(release, scan_file, patient, model, tmp_path):
    mask = np.zeros(patient.grid.shape, np.uint8)
    mask[2:10, 10:30, 8:28] = 1
    write_image(tmp_path / "mask.nii.gz", patient.with_array(mask, Modality.MASK))
    predict_file(release, scan_file, tmp_path / "sct.mha", mask=tmp_path / "mask.nii.gz")
    got = read_scan(tmp_path / "sct.mha", Modality.CT).array
    assert np.abs(got - expected_hu(patient, mask, model)).max() <= 1


@pytest.mark.parametrize("turn", ["flipped", "permuted"])
def test_a_scan_stored_in_another_orientation_gives_the_same_patient(
    release, patient, tmp_path, turn
):
    """Voxel for voxel the same HU at the same point of the patient."""
    if turn == "flipped":
        array = patient.array[:, ::-1, ::-1]
        direction = ((1.0, 0, 0), (0, -1.0, 0), (0, 0, -1.0))
        corner = patient.grid.points(
            np.array([0, patient.grid.shape[1] - 1, patient.grid.shape[2] - 1])
        )
        spacing = patient.grid.spacing_mm
    else:  # stored as sagittal slices: axes (x, z, y)
        array = patient.array.transpose(2, 0, 1)
        direction = ((0, 1.0, 0), (0, 0, 1.0), (1.0, 0, 0))
        corner = np.asarray(patient.grid.origin_mm)
        z, y, x = patient.grid.spacing_mm
        spacing = (x, z, y)
    grid = Grid(array.shape, spacing, tuple(float(v) for v in corner), direction)
    write_image(tmp_path / "turned.mha", Volume(np.ascontiguousarray(array), grid, Modality.MR))
    write_image(tmp_path / "scan.mha", patient)
    predict_file(release, tmp_path / "turned.mha", tmp_path / "a.mha")
    predict_file(release, tmp_path / "scan.mha", tmp_path / "b.mha")
    turned = read_scan(tmp_path / "a.mha", Modality.CT)
    upright = read_scan(tmp_path / "b.mha", Modality.CT)
    assert turned.grid.is_close(grid)
    back = turned.array[:, ::-1, ::-1] if turn == "flipped" else turned.array.transpose(1, 2, 0)
    assert np.abs(back.astype(int) - upright.array).max() <= 1


def test_another_voxel_size_comes_back_on_its_own_grid(release, tmp_path, patient, model):
    fine = Grid((18, 60, 50), (4.0, 1.6, 1.6), patient.grid.origin_mm)
    image = sitk.Resample(
        sitk.GetImageFromArray(patient.array), (50, 60, 18), sitk.Transform(),
        sitk.sitkLinear, (0, 0, 0), (0.8, 0.8, 2 / 3), (1, 0, 0, 0, 1, 0, 0, 0, 1),
    )  # fmt: skip
    write_image(tmp_path / "scan.mha", Volume(sitk.GetArrayFromImage(image), fine, Modality.MR))
    predict_file(release, tmp_path / "scan.mha", tmp_path / "sct.nii.gz")
    got = read_scan(tmp_path / "sct.nii.gz", Modality.CT)
    assert got.grid.is_close(fine)
    assert 900 < np.median(got.array[got.array > -1024]) < 1150  # z-score 0 is 1023.5 HU


def test_skin_is_not_mixed_with_the_air_outside_the_body(patient, model):
    prepared = prepare(patient, None, model)
    other = Grid((24, 90, 77), (3.0, 1.06, 1.04), patient.grid.origin_mm)
    body = resample(prepared.body, other, outside=0, nearest=True)
    values = np.where(prepared.mask.array > 0, 500, -1024)
    got = on_grid(values, prepared.mask, body, -1024.0)
    assert set(np.unique(np.rint(got))) <= {-1024.0, 500.0}
    assert np.mean(got[body.array > 0] == -1024) < 0.02


def test_the_uncertainty_map_is_the_spread_of_the_folds(
    release, scan_file, patient, model, tmp_path
):
    predict_file(
        release,
        scan_file,
        tmp_path / "sct.mha",
        uncertainty=tmp_path / "sd.mha",
        options=PredictOptions(tta=False),
    )
    got = read_scan(tmp_path / "sd.mha", Modality.CT)
    body = prepare(patient, None, model).body.array > 0
    scaled = scale_source(patient.array, body, model.source_scaling)
    votes = np.stack([np.tanh(np.float32(weight) * scaled) for weight in (0.2, 0.4)])
    np.testing.assert_allclose(got.array[body], votes.std(axis=0)[body] * 2047.5, atol=0.1)
    assert got.array[~body].max() == 0


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
        told = subprocess.run([validator, str(file)], capture_output=True, text=True)
        assert "Error" not in told.stdout + told.stderr
        assert "CTImage" in told.stdout + told.stderr


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


def series_of(tmp_path, volume):
    write_series(
        tmp_path / "other", volume, patient_id="X", study="s", series_description="d", uid_seed="x"
    )
    return tmp_path / "other"


def test_a_ct_given_to_an_mr_model_is_refused(release, patient, tmp_path):
    ct = series_of(
        tmp_path, patient.with_array(np.zeros(patient.grid.shape, np.int16), Modality.CT)
    )
    with pytest.raises(DataError) as caught:
        predict_file(release, ct, tmp_path / "sct.mha")
    assert caught.value.code == "wrong-modality"
    assert not (tmp_path / "sct.mha").exists()


def test_bad_inputs_are_named_and_nothing_is_written(release, patient, tmp_path):
    thin = patient.crop((0, 0, 0), (2, 48, 40))
    nan = patient.array.copy()
    nan[3] = np.nan
    empty = patient.with_array(np.zeros(patient.grid.shape, np.uint8), Modality.MASK)
    write_image(tmp_path / "empty.mha", empty)
    flat = patient.with_array(np.full(patient.grid.shape, 7, np.float32))
    full = patient.with_array(np.ones(patient.grid.shape, np.uint8), Modality.MASK)
    write_image(tmp_path / "full.mha", full)
    cases = [
        (thin, None, "few-slices"),
        (patient.with_array(nan), None, "not-finite"),
        (patient, tmp_path / "empty.mha", "mask-empty"),
        (flat, tmp_path / "full.mha", "constant"),
    ]
    for volume, mask, code in cases:
        write_image(tmp_path / "bad.mha", volume)
        with pytest.raises(SynthctError) as caught:
            predict_file(release, tmp_path / "bad.mha", tmp_path / "sct", mask=mask)
        assert caught.value.code == code
        assert caught.value.where.startswith(str(tmp_path))  # a batch of scans: which one?
    assert not [path for path in tmp_path.iterdir() if "sct" in path.name]


@pytest.mark.parametrize(
    ("out", "options", "code"),
    [
        ("sct.png", {}, "unknown-suffix"),
        ("scan.mha", {}, "output-is-input"),
        ("sct.mha", {"uncertainty": "sct.mha"}, "output-is-input"),
        ("sct.mha", {"dicom_reference": "ref"}, "reference-without-series"),
        ("taken", {}, "out-not-empty"),
    ],
)
def test_an_output_that_cannot_be_is_named_before_anything_runs(
    release, scan_file, tmp_path, out, options, code
):
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").touch()
    paths = {name: tmp_path / value for name, value in options.items()}
    with pytest.raises(UsageError) as caught:
        predict_file(release, scan_file, tmp_path / out, **paths)
    assert caught.value.code == code


def test_a_body_cut_by_the_field_of_view_is_said(release, patient, model, tmp_path):
    cut = patient.crop((0, 0, 12), patient.grid.shape)
    write_image(tmp_path / "cut.mha", cut)
    notes = predict_file(release, tmp_path / "cut.mha", tmp_path / "sct.mha")["notes"]
    assert any("touches the edge of the image" in note for note in notes)


def test_a_scan_is_prepared_as_ingestion_and_registration_prepare_it(scan_file, model):
    checked = check_scan(scan_file, Modality.MR, "other", IngestionParams())
    grid = working_grid(checked.mask, model.spacing_mm, 15.0)
    low = float(checked.volume.array.min())
    prepared = prepare(read_scan(scan_file, Modality.MR), None, model)
    np.testing.assert_array_equal(
        prepared.source.array, resample(checked.volume, grid, outside=low).array
    )
    expected = resample(checked.mask, grid, outside=0, nearest=True).array
    np.testing.assert_array_equal(prepared.mask.array, expected)
    assert prepared.source.grid == grid


def test_voxels_much_larger_than_in_training_are_said(patient, model):
    fine = model.model_copy(update={"spacing_mm": (2.0, 2.0, 2.0)})
    assert any("3.0 times as large" in note for note in prepare(patient, None, fine).notes)
    assert not any("as large" in note for note in prepare(patient, None, model).notes)


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
