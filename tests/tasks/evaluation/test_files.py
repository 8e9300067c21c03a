"""`synthct evaluate` on two files: what is wrong with them is named, never averaged over."""

from __future__ import annotations

import json

import numpy as np
import pytest
import SimpleITK as sitk

from data.faults import DataFault, Fault, UsageFault
from tasks.evaluation.files import evaluate_files

SHAPE = (12, 30, 28)


def save(path, array, *, spacing=(1.5, 1.5, 3.0), origin=(0.0, 0.0, 0.0)):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = sitk.GetImageFromArray(np.asarray(array))
    image.SetSpacing(spacing)
    image.SetOrigin(origin)
    sitk.WriteImage(image, str(path))
    return path


@pytest.fixture
def arrays():
    rng = np.random.default_rng(0)
    _z, y, x = np.meshgrid(*[np.linspace(-1, 1, n) for n in SHAPE], indexing="ij")
    mask = (y / 0.8) ** 2 + (x / 0.8) ** 2 < 1
    reference = np.where(mask, 40.0, -1000.0)
    reference[mask & (x > 0.3)] = 800
    reference[mask & (x < -0.4)] = -100
    prediction = reference + rng.normal(0, 20, SHAPE)
    return reference.astype(np.int16), prediction.astype(np.float32), mask.astype(np.uint8)


@pytest.fixture
def files(arrays, tmp_path):
    reference, prediction, mask = arrays
    return {
        "prediction": save(tmp_path / "sct.mha", prediction),
        "reference": save(tmp_path / "ct.nii.gz", reference),
        "mask": save(tmp_path / "mask.mha", mask),
    }


def test_two_files_are_scored_inside_the_mask_and_the_profile_is_told(files, arrays, tmp_path):
    reference, prediction, mask = arrays
    told = evaluate_files(**files, json_file=tmp_path / "out" / "scores.json")
    error = (prediction.astype(float) - reference)[mask > 0]
    assert told["scores"]["mae_hu"] == pytest.approx(np.abs(error).mean())
    bone = np.abs(error[reference[mask > 0] == 800]).mean()
    assert told["scores"]["mae_hu_bone"] == pytest.approx(bone)
    assert told["scores"]["mae_hu_metal"] is None
    assert told["schema"] == "synthct-evaluation/1"
    assert told["profile"] == {
        "name": "synthrad2025_container", "low_hu": -1024, "high_hu": 3071,
    }  # fmt: skip
    assert told["grid"] == {"shape": list(SHAPE), "spacing_mm": [3.0, 1.5, 1.5]}
    assert told["voxels"] == int(mask.sum())
    assert json.loads((tmp_path / "out" / "scores.json").read_text()) == told
    assert str(tmp_path) not in json.dumps(told)


def test_the_other_profile_gives_another_psnr(files):
    psnr = {
        name: evaluate_files(**files, profile=f"synthrad2025_{name}")["scores"]["psnr_db"]
        for name in ("container", "metrics")
    }
    gap = 20 * np.log10(4095 / 4024)
    assert psnr["container"] - psnr["metrics"] == pytest.approx(gap, abs=1e-9)


def test_no_mask_scores_the_whole_box(files):
    told = evaluate_files(files["prediction"], files["reference"])
    assert told["voxels"] == np.prod(SHAPE)
    assert told["mask"] is None


def test_segmentations_are_compared_by_name_and_a_missing_one_costs(files, arrays, tmp_path):
    reference, _, mask = arrays
    folder = tmp_path / "segmentations"
    bone, fat = reference == 800, (reference == -100) & (mask > 0)
    save(folder / "reference" / "bone.nii.gz", bone.astype(np.uint8))
    save(folder / "reference" / "fat.nii.gz", fat.astype(np.uint8))
    save(folder / "prediction" / "bone.mha", np.roll(bone, 1, axis=1).astype(np.uint8))
    scores = evaluate_files(**files, segmentations=folder)["structures"]["scores"]
    assert 0.8 < scores["dice_bone"] < 1
    assert scores["hd95_mm_bone"] == pytest.approx(1.5)
    assert scores["dice_fat"] == 0
    assert scores["hd95_mm_fat"] == pytest.approx(np.linalg.norm(np.array(SHAPE) * [3, 1.5, 1.5]))
    published = evaluate_files(**files, segmentations=folder, policy="as_published")
    assert published["structures"]["scores"]["hd95_mm_fat"] is None


def fault(files, **changes):
    with pytest.raises(Fault) as caught:
        evaluate_files(**{**files, **changes})
    return caught.value


def test_another_grid_is_a_fault_unless_resampling_was_asked_for(files, arrays, tmp_path):
    moved = save(tmp_path / "moved.mha", arrays[1], origin=(0.0, 1.5, 0.0))
    found = fault(files, prediction=moved)
    assert isinstance(found, DataFault)
    assert (found.code, found.where) == ("grid-mismatch", str(moved))
    assert "--resample" in str(found)
    told = evaluate_files(moved, files["reference"], files["mask"], resample=True)
    straight = evaluate_files(**files)
    assert told["resampled"]
    assert not straight["resampled"]
    assert told["scores"]["mae_hu"] > straight["scores"]["mae_hu"]


def test_a_mask_on_another_grid_is_named(files, arrays, tmp_path):
    coarse = save(tmp_path / "coarse.mha", arrays[2][::2], spacing=(1.5, 1.5, 6.0))
    assert fault(files, mask=coarse).where == str(coarse)


def test_an_empty_mask_is_named(files, tmp_path):
    empty = save(tmp_path / "empty.mha", np.zeros(SHAPE, np.uint8))
    found = fault(files, mask=empty)
    assert (found.code, found.where) == ("mask-empty", str(empty))


@pytest.mark.parametrize("which", ["prediction", "reference"])
def test_a_nan_is_named_even_outside_the_mask(files, arrays, tmp_path, which):
    bad = arrays[1].copy()
    bad[0, 0, 0] = np.nan
    path = save(tmp_path / "bad.mha", bad)
    found = fault(files, **{which: path})
    assert str(path) in str(found)
    assert "1 voxels NaN" in str(found)


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
    found = fault(files, **{which: path})
    assert (found.code, found.where) == ("not-hu", str(path)), unit


def test_a_missing_reference_or_folder_is_named(files, tmp_path):
    absent = tmp_path / "absent.nii.gz"
    assert str(absent) in str(fault(files, reference=absent))
    assert str(tmp_path / "nowhere" / "reference") in str(
        fault(files, segmentations=tmp_path / "nowhere")
    )


def test_a_fault_leaves_no_document(files, tmp_path):
    out = tmp_path / "scores.json"
    fault(files, reference=tmp_path / "absent.nii.gz", json_file=out)
    assert not out.exists()


def test_an_unknown_profile_or_metric_is_a_usage_fault(files):
    assert isinstance(fault(files, profile="synthrad"), UsageFault)
    found = fault(files, metrics=["mae"])
    assert isinstance(found, UsageFault)
    assert "did you mean 'mae_hu'" in str(found)


def test_real_ct_against_itself_shifted(shared_data, tmp_path):
    ct = shared_data / "small_ct_mr" / "example_ct_sm.nii.gz"
    image = sitk.ReadImage(str(ct))
    shifted = sitk.GetImageFromArray(np.roll(sitk.GetArrayFromImage(image), 1, axis=0))
    shifted.CopyInformation(image)
    sitk.WriteImage(shifted, str(tmp_path / "shifted.nii.gz"))
    same = evaluate_files(ct, ct)["scores"]
    assert same["mae_hu"] == 0
    assert same["psnr_db"] is None
    assert same["ms_ssim"] == pytest.approx(1)
    moved = evaluate_files(tmp_path / "shifted.nii.gz", ct)["scores"]
    assert moved["mae_hu"] > 5
    assert moved["ms_ssim"] < 0.99
