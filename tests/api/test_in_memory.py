"""Scans from memory give what files give, nothing stays behind, and errors name the argument."""

from __future__ import annotations

import json

import numpy as np
import pytest
import SimpleITK as sitk

import synthct
from tests.tasks.prediction.test_intervals import document, with_calibration


@pytest.fixture(autouse=True)
def temporary(scene, monkeypatch):
    """The folder for temporary files; the test ends with an error when one is left."""
    folder = scene / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    yield folder
    assert list(folder.iterdir()) == []


def test_a_prediction_from_memory_is_the_prediction_of_the_file(scene):
    mr = synthct.read("mr.nii.gz", "MR")
    there = synthct.predict("release", mr, uncertainty=True)
    file = synthct.predict("release", "mr.nii.gz", out="sct.mha", uncertainty="sd.mha")
    assert np.array_equal(there.sct.array, file.sct.array)
    assert there.sct.grid.is_close(mr.grid, 1e-9)
    assert np.array_equal(there.uncertainty.array, file.uncertainty.array)
    assert there.uncertainty.array.max() > 0
    assert there.report == {**file.report, "out": None}
    assert file.report["out"] == "sct.mha"


def test_an_interval_from_memory_is_that_of_the_files(scene):
    with_calibration(scene / "release", document())
    mr = synthct.read("mr.nii.gz", "MR")
    there = synthct.predict("release", mr, interval=True)
    files = synthct.predict("release", mr, out="sct.nii.gz", interval="ends")
    for name in ("low", "high", "untrusted"):
        held, written = (getattr(made.interval, name).array for made in (there, files))
        assert np.array_equal(held, written)
    assert (there.interval.low.array <= there.sct.array).all()
    assert there.uncertainty is None
    with pytest.raises(synthct.UsageError, match="no name for the interval"):
        synthct.predict("release", mr, out="other.mha", interval=True)


def test_a_prediction_without_uncertainty_has_none(scene):
    assert synthct.predict("release", "mr.nii.gz", tta=False).uncertainty is None


def test_a_mask_in_memory_is_used(scene, pair):
    inside = np.zeros(pair[0].grid.shape, bool)
    inside[5:20, 10:30, 10:30] = True
    mask = pair[0].with_array(inside, synthct.Modality.MASK)
    sct = synthct.predict("release", pair[0], mask=mask).sct
    assert (sct.array[~inside] == -1024).all()
    assert (sct.array[inside] > -1024).all()


def test_scores_of_memory_and_files_agree_and_the_document_names_the_arguments(scene, pair):
    ct = pair[1]
    worse = ct.with_array(ct.array + np.int16(7))
    synthct.write(ct, "a.mha")
    synthct.write(worse, "b.mha")
    there = synthct.evaluate(worse, ct, out="scores.json")
    files = synthct.evaluate("b.mha", "a.mha")
    assert there["scores"] == files["scores"]
    assert there["scores"]["mae_hu"] == pytest.approx(7)
    assert there["prediction"]["name"] == "prediction.mha"
    assert json.loads((scene / "scores.json").read_text()) == there


@pytest.mark.slow
def test_registration_from_memory_is_that_of_the_files_in_out(scene, pair):
    mr, ct = pair
    there = synthct.register(mr, ct, region="abdomen")
    files = synthct.register(
        "mr.nii.gz", "ct.nii.gz", fixed_modality="mr", moving_modality="ct", region="abdomen",
        out="moved",
    )  # fmt: skip
    moved = synthct.read("moved/moved.mha", "CT")
    assert np.array_equal(there.moved.array, moved.array)
    written = synthct.read_displacement("moved/displacement.mha")
    assert np.abs(written.vectors - there.displacement.vectors).max() < 1e-6
    assert there.verdict == files.verdict == json.loads(
        (scene / "moved" / "quality.json").read_text()
    )["verdict"]  # fmt: skip
    assert "transform" in files.quality
    assert "transform" not in there.quality


def test_the_folder_goes_when_the_work_fails_and_the_error_names_the_argument(scene, pair):
    flat = pair[0].with_array(np.zeros(pair[0].grid.shape, np.float32))
    with pytest.raises(synthct.DataError) as caught:
        synthct.predict("release", flat)
    assert str(caught.value).startswith("scan (a volume in memory): ")
    assert "temporary" not in str(caught.value)
    assert caught.value.as_json()["where"] == "scan (a volume in memory)"


def test_the_folder_is_private_while_it_is_there(scene, pair, temporary, monkeypatch):
    modes = []

    def look(*arguments, **options):
        modes.extend(path.stat().st_mode & 0o777 for path in temporary.iterdir())
        raise KeyboardInterrupt

    monkeypatch.setattr("synthct.tasks.evaluation.files.evaluate_files", look)
    with pytest.raises(KeyboardInterrupt):
        synthct.evaluate(pair[1], pair[1])
    assert modes == [0o700]


@pytest.mark.parametrize(
    ("call", "code"),
    [
        (lambda mr, ct: synthct.evaluate(mr, ct), "wrong-modality"),
        (lambda mr, ct: synthct.evaluate(ct, ct, mask=ct), "wrong-modality"),
        (lambda mr, ct: synthct.evaluate(ct, ct, source=ct), "wrong-modality"),
        (lambda mr, ct: synthct.register(mr, ct, fixed_modality="CBCT"), "modality-contradicted"),
        (lambda mr, ct: synthct.read("mr.nii.gz", "MRI"), "unknown-modality"),
        (lambda mr, ct: synthct.read("mr.nii.gz"), "modality-unknown"),
        (lambda mr, ct: synthct.read("mr.nii.gz", "MR", series="3"), "series-of-a-file"),
        (lambda mr, ct: synthct.write(mr, "scan.png"), "unknown-suffix"),
        (lambda mr, ct: synthct.predict("release", mr, dicom_reference="x"),
         "reference-without-series"),
        (lambda mr, ct: synthct.predict("release", mr, out="a.mha", uncertainty=True),
         "uncertainty-without-name"),
        (lambda mr, ct: synthct.ingest("scans", "raw/Trial"), "bad-dataset-name"),
        (lambda mr, ct: synthct.ingest("scans", "raw/trial", region="knee"), "unknown-region"),
        (lambda mr, ct: synthct.ingest("scans", "raw/trial", cite="us"), "licence-missing"),
    ],
)  # fmt: skip
def test_arguments_that_do_not_go_together_are_usage_errors(pair, call, code):
    with pytest.raises(synthct.UsageError) as caught:
        call(*pair)
    assert caught.value.code == code


def test_a_dry_run_writes_nothing_and_a_real_one_tells_both_phases(scene):
    told = []
    options = {"manifest": "scans.csv", "licence": "CC BY 4.0"}
    seen = synthct.ingest("scans", "raw/trial", dry_run=True, **options)
    assert (seen.added, len(seen.rows)) == ((), 2)
    assert not (scene / "raw").exists()
    done = synthct.ingest(
        ["scans"], "raw/trial", **options,
        planned=lambda found: told.append(len(found.rows)),
        written=lambda found: told.append(found.added),
        progress=lambda phase, done, total: told.append((phase, done, total)),
    )  # fmt: skip
    assert told == [("look", 1, 2), ("look", 2, 2), 2, ("copy", 1, 2), ("copy", 2, 2), done.added]
    assert json.dumps(done.as_json())
    assert done.as_json()["added"] == sorted(done.added)
    again = synthct.ingest("scans", "raw/trial", manifest="scans.csv")
    assert [row.status for row in again.rows] == ["known", "known"]


def test_a_vector_image_for_itk_moves_as_the_displacement_says():
    grid = synthct.Grid((4, 4, 4), (1.0, 1.0, 1.0))
    vectors = np.zeros((3, 4, 4, 4), np.float32)
    vectors[0] = 2.0
    image = synthct.to_sitk(synthct.Displacement(vectors, grid))
    transform = sitk.DisplacementFieldTransform(image)
    assert transform.TransformPoint((1.0, 1.0, 1.0)) == (1.0, 1.0, 3.0)


def test_conversions_share_no_memory_with_what_they_were_given(pair):
    array = np.zeros((2, 3, 4), np.float32)
    volume = synthct.from_numpy(array, "mr", spacing_mm=(3, 1, 1), origin_mm=(0, 0, 5))
    array[:] = 1
    assert volume.array.max() == 0
    synthct.to_numpy(volume)[:] = 1
    assert volume.array.max() == 0
    image = synthct.to_sitk(volume)
    assert image.GetOrigin() == (5.0, 0.0, 0.0)
    assert synthct.from_sitk(image, "MR").grid == volume.grid
