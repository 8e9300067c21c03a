"""`synthct predict` on one scan: the networks' mean on the grid of the scan."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk

from synthct.data.errors import UsageError
from synthct.data.itk import resample
from synthct.data.readers import read_scan
from synthct.data.volume import Grid, Modality, Volume
from synthct.data.writers import write_image
from synthct.tasks.evaluation.files import evaluate_files
from synthct.tasks.fields.geometry import working_grid
from synthct.tasks.ingestion.params import IngestionParams
from synthct.tasks.ingestion.patient import check_scan
from synthct.tasks.models.normalise import scale_source, unscale_target
from synthct.tasks.prediction.options import PredictOptions
from synthct.tasks.prediction.predict import predict_file
from synthct.tasks.prediction.prepare import prepare
from synthct.tasks.prediction.slab_resampling import on_grid


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


def test_the_surest_network_answers_alone_and_is_reported_as_one(
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
def test_a_choice_that_cannot_be_made_is_reported_before_the_scan_is_read(
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


def test_a_scan_of_another_voxel_size_gets_its_result_on_its_own_grid(
    release, tmp_path, patient, model
):
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


def test_a_body_cut_by_the_field_of_view_is_reported(release, patient, model, tmp_path):
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


def test_voxels_much_larger_than_in_training_are_reported(patient, model):
    fine = model.model_copy(update={"spacing_mm": (2.0, 2.0, 2.0)})
    assert any("3.0 times as large" in note for note in prepare(patient, None, fine).notes)
    assert not any("as large" in note for note in prepare(patient, None, model).notes)


def test_the_body_that_was_predicted_in_cannot_be_scored_in(
    release, dicom, patient, model, tmp_path
):
    """`evaluate --mask` wants a body mask, and it is the one that the networks ran in."""
    predict_file(release, dicom, tmp_path / "sct.mha", body=tmp_path / "body.nii.gz")
    got = read_scan(tmp_path / "body.nii.gz", Modality.MASK)
    sct = read_scan(tmp_path / "sct.mha", Modality.CT)
    assert got.grid.is_close(sct.grid)
    np.testing.assert_array_equal(got.array, prepare(patient, None, model).body.array)
    ct = np.where(got.array, patient.array / 4 - 100, -1000).astype(np.int16)
    write_image(tmp_path / "ct.mha", Volume(ct, sct.grid, Modality.CT))
    ct_file = tmp_path / "ct.mha"
    scores = evaluate_files(ct_file, ct_file, tmp_path / "body.nii.gz")
    assert scores["voxels"] == np.count_nonzero(got.array)


def test_the_body_mask_overwrites_the_scan(release, scan_file, tmp_path):
    with pytest.raises(UsageError, match="same name"):
        predict_file(release, scan_file, tmp_path / "sct.mha", body=scan_file)
    with pytest.raises(UsageError, match="suffix"):
        predict_file(release, scan_file, tmp_path / "sct.mha", body=tmp_path / "body.png")
    assert sorted(path.suffix for path in tmp_path.iterdir()) == ["", ".mha"]
