"""Files that cannot be scored are refused with the reason."""

from __future__ import annotations

import numpy as np
import pytest

from synthct.data.errors import DataError, SynthctError, UsageError
from synthct.tasks.evaluation.attachments import Attachments
from synthct.tasks.evaluation.files import evaluate_files
from tests.fixtures.scored_files import SHAPE, save


def error_of(files, **changes):
    with pytest.raises(SynthctError) as caught:
        evaluate_files(**{**files, **changes})
    return caught.value


def test_another_grid_is_an_error_unless_resampling_was_asked_for(files, arrays, tmp_path):
    moved = save(tmp_path / "moved.mha", arrays[1], origin=(0.0, 1.5, 0.0))
    found = error_of(files, prediction=moved)
    assert isinstance(found, DataError)
    assert (found.code, found.where) == ("grid-mismatch", str(moved))
    assert "--resample" in str(found)
    result = evaluate_files(moved, files["reference"], files["mask"], resample=True)
    straight = evaluate_files(**files)
    assert result["resampled"]
    assert not straight["resampled"]
    assert result["scores"]["mae_hu"] > straight["scores"]["mae_hu"]


def test_a_mask_on_another_grid_is_named(files, arrays, tmp_path):
    coarse = save(tmp_path / "coarse.mha", arrays[2][::2], spacing=(1.5, 1.5, 6.0))
    assert error_of(files, mask=coarse).where == str(coarse)


def test_an_empty_mask_is_named(files, tmp_path):
    empty = save(tmp_path / "empty.mha", np.zeros(SHAPE, np.uint8))
    found = error_of(files, mask=empty)
    assert (found.code, found.where) == ("mask-empty", str(empty))


def test_a_ct_given_as_mask_or_as_dose_is_named(files):
    ct = files["reference"]
    found = error_of(files, mask=ct)
    assert (found.code, found.where) == ("mask-negative", str(ct))
    found = error_of(files, extras=Attachments(dose_prediction=ct, dose_reference=ct))
    assert (found.code, found.where) == ("not-a-dose", str(ct))


@pytest.mark.parametrize("which", ["prediction", "reference"])
def test_a_nan_is_named_even_outside_the_mask(files, arrays, tmp_path, which):
    bad = arrays[1].copy()
    bad[0, 0, 0] = np.nan
    path = save(tmp_path / "bad.mha", bad)
    found = error_of(files, **{which: path})
    assert str(path) in str(found)
    assert "1 voxels are NaN" in str(found)


@pytest.mark.parametrize("which", ["prediction", "reference"])
@pytest.mark.parametrize(
    ("unit", "change"),
    {
        "network units": lambda hu: hu / 2000,
        "stored values before the rescale intercept": lambda hu: hu + 1024,
        "attenuation per mm": lambda hu: 0.02 * (1 + hu / 1000),
        "an eight-bit window": lambda hu: np.clip((hu + 160) / 400 * 255, 0, 255),
        "zeros": lambda hu: hu * 0,
    }.items(),
)
def test_values_that_are_not_hu_are_named(files, arrays, tmp_path, unit, change, which):
    path = save(tmp_path / "odd.mha", change(arrays[0].astype(np.float32)))
    found = error_of(files, **{which: path})
    assert (found.code, found.where) == ("not-hu", str(path)), unit


def test_a_mask_of_soft_tissue_alone_is_no_wrong_rescale(files, arrays, tmp_path):
    reference, prediction, mask = arrays
    soft = (mask > 0) & (reference == 40)
    files["mask"] = save(tmp_path / "soft.mha", soft.astype(np.uint8))
    tissue = np.where(np.arange(SHAPE[2]) % 2, 35.0, 45.0)
    files["reference"] = save(tmp_path / "ct.mha", np.where(soft, tissue, reference))
    files["prediction"] = save(tmp_path / "sct.mha", np.where(soft, tissue + 15, prediction))
    document = evaluate_files(files["prediction"], files["reference"], files["mask"])
    assert document["scores"]["mae_hu"] == pytest.approx(15)


def test_a_mask_of_bone_alone_is_no_wrong_rescale(files, arrays, tmp_path):
    """The remedy for a wrong rescale cannot work: the rest of the image shows fat and air."""
    z, y, x = np.indices(SHAPE)
    away = np.hypot(y - SHAPE[1] / 2, x - SHAPE[2] / 2) / SHAPE[1]
    hu = np.select([away < 0.1, away < 0.25, away < 0.4], [700 + 5.0 * z, 40, -90], -1000.0)
    files["mask"] = save(tmp_path / "bone.mha", (away < 0.1).astype(np.uint8))
    files["reference"] = save(tmp_path / "ct.mha", hu)
    files["prediction"] = save(tmp_path / "sct.mha", np.where(away < 0.1, hu - 15, hu))
    document = evaluate_files(**files)
    assert document["scores"]["mae_hu"] == pytest.approx(15)
    stored = np.where(away < 0.4, hu + 1024, -1000)
    for name in ("reference", "prediction"):
        wrong = save(tmp_path / "stored.mha", stored)
        assert error_of(files, **{name: wrong}).code == "not-hu"


def test_a_missing_reference_or_folder_is_named(files, tmp_path):
    absent = tmp_path / "absent.nii.gz"
    assert str(absent) in str(error_of(files, reference=absent))
    assert str(tmp_path / "nowhere" / "reference") in str(
        error_of(files, extras=Attachments(tmp_path / "nowhere"))
    )


def test_an_error_leaves_no_document(files, tmp_path):
    out = tmp_path / "scores.json"
    error_of(files, reference=tmp_path / "absent.nii.gz", json_file=out)
    assert not out.exists()


def test_an_unknown_profile_or_metric_is_a_usage_error(files):
    assert isinstance(error_of(files, profile="synthrad"), UsageError)
    found = error_of(files, metrics=["mae"])
    assert isinstance(found, UsageError)
    assert "did you mean 'mae_hu'" in str(found)


def test_an_absent_gpu_is_named_instead_of_scored_elsewhere(files):
    with pytest.raises(UsageError, match="no device 'tpu'"):
        evaluate_files(**files, extras=Attachments(device="tpu"))
