"""`synthct evaluate` on two files: defects are reported, never averaged over."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import SimpleITK as sitk

from synthct.data.errors import DataError, SynthctError, UsageError
from synthct.data.files import canonical_json
from synthct.tasks.evaluation.attachments import Attachments
from synthct.tasks.evaluation.document import json_schema
from synthct.tasks.evaluation.files import evaluate_files

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


def test_two_files_are_scored_inside_the_mask_and_the_profile_is_reported(files, arrays, tmp_path):
    reference, prediction, mask = arrays
    result = evaluate_files(**files, json_file=tmp_path / "out" / "scores.json")
    error = (prediction.astype(float) - reference)[mask > 0]
    assert result["scores"]["mae_hu"] == pytest.approx(np.abs(error).mean())
    bone = np.abs(error[reference[mask > 0] == 800]).mean()
    assert result["scores"]["mae_hu_bone"] == pytest.approx(bone)
    assert result["scores"]["mae_hu_metal"] is None
    assert result["schema"] == "synthct-evaluation/1"
    assert result["profile"] == {
        "name": "synthrad2025_container", "low_hu": -1024, "high_hu": 3071,
    }  # fmt: skip
    assert result["grid"] == {"shape": list(SHAPE), "spacing_mm": [3.0, 1.5, 1.5]}
    assert result["voxels"] == int(mask.sum())
    assert json.loads((tmp_path / "out" / "scores.json").read_text()) == result
    assert str(tmp_path) not in json.dumps(result)


def test_the_other_profile_gives_another_psnr(files):
    psnr = {
        name: evaluate_files(**files, profile=f"synthrad2025_{name}")["scores"]["psnr_db"]
        for name in ("container", "metrics")
    }
    gap = 20 * np.log10(4095 / 4024)
    assert psnr["container"] - psnr["metrics"] == pytest.approx(gap, abs=1e-9)


def test_no_mask_scores_the_whole_box(files):
    result = evaluate_files(files["prediction"], files["reference"])
    assert result["voxels"] == np.prod(SHAPE)
    assert result["mask"] is None


def test_segmentations_are_compared_by_name_and_a_missing_one_costs(files, arrays, tmp_path):
    reference, _, mask = arrays
    folder = tmp_path / "segmentations"
    bone, fat = reference == 800, (reference == -100) & (mask > 0)
    save(folder / "reference" / "bone.nii.gz", bone.astype(np.uint8))
    save(folder / "reference" / "fat.nii.gz", fat.astype(np.uint8))
    save(folder / "prediction" / "bone.mha", np.roll(bone, 1, axis=1).astype(np.uint8))
    scores = evaluate_files(**files, extras=Attachments(folder))["structures"]["scores"]
    assert 0.8 < scores["dice_bone"] < 1
    assert scores["hd95_mm_bone"] == pytest.approx(1.5)
    assert scores["dice_fat"] == 0
    assert scores["hd95_mm_fat"] == pytest.approx(np.linalg.norm(np.array(SHAPE) * [3, 1.5, 1.5]))
    published = evaluate_files(**files, extras=Attachments(folder, policy="as_published"))
    assert published["structures"]["scores"]["hd95_mm_fat"] is None


def test_without_files_a_segmenter_finds_the_structures_of_both_and_is_named(files):
    result = evaluate_files(**files, extras=Attachments(segmenter="thresholds"))["structures"]
    assert result["found_by"] == "thresholds"
    assert result["scores"]["dice_bone"] > 0.95  # 800 HU in both, noise of 20


@pytest.mark.parametrize(
    ("extras", "code"),
    [
        ({"segmenter": "totalsegmenter"}, "segmenter-unknown"),
        ({"segmenter": "thresholds", "segmentations": Path("seg")}, "two-segmentations"),
    ],
)
def test_a_segmenter_that_is_none_or_one_too_many_is_reported_before_anything_is_read(extras, code):
    with pytest.raises(UsageError) as caught:
        Attachments(**extras)
    assert caught.value.code == code


@pytest.mark.skipif(sys.version_info >= (3, 13), reason="pymedphys refuses Python 3.13 and newer")
def test_everything_that_applies_is_in_a_document_that_its_schema_accepts(files, arrays, tmp_path):
    reference, prediction, mask = arrays
    folder = tmp_path / "seg"
    labels = (reference == 800) + 2 * ((reference == -100) & (mask > 0))
    for side in ("reference", "prediction", "source"):
        save(folder / f"{side}.nii.gz", labels.astype(np.uint8))
    (folder / "labels.json").write_text('{"1": "femur", "2": {"name": "fat"}}')
    gy = np.where(mask, 50 + reference / 100, 0).astype(np.float32)
    extras = Attachments(
        segmentations=folder,
        source=save(
            tmp_path / "mr.mha", (1000 - np.clip(prediction, -900, 900)).astype(np.float32)
        ),
        dose_prediction=save(tmp_path / "d1.mha", gy * np.float32(1.01)),
        dose_reference=save(tmp_path / "d2.mha", gy),
        target="femur",
        prescription_gy=55.0,
    )
    result = evaluate_files(**files, extras=extras)
    jsonschema.validate(json.loads(canonical_json(result)), json_schema())
    assert {"structures", "source", "dose"} < set(result)
    assert result["structures"]["scores"]["completeness_bone"] == 1
    assert result["structures"]["scores"]["structure_mae_hu_femur"] == pytest.approx(
        np.abs(prediction - reference)[reference == 800].mean()
    )
    assert result["source"]["scores"]["source_dice_femur"] == 1
    assert result["source"]["scores"]["source_offset_mm"] == 0
    assert result["dose"]["gamma_pass_percent"] == {"2%/2mm": 100, "3%/3mm": 100}
    means = [
        result["dose"]["dvh"][side]["femur"]["mean_gy"] for side in ("prediction", "reference")
    ]
    assert means[0] == pytest.approx(1.01 * means[1], rel=1e-6)
    assert result["dose"]["conformity"]["reference"] == 1
    assert not any(found["suspect"] for found in result["checks"] if found["check"] != "mask_air")


def test_the_schema_in_the_docs_is_the_one_that_is_written():
    docs = Path(__file__).resolve().parents[3] / "docs" / "reference" / "evaluation.schema.json"
    assert docs.read_text() == canonical_json(json_schema())


def test_one_dose_alone_or_a_target_without_prescription_is_a_usage_error(files):
    for wrong in ({"dose_reference": files["mask"]}, {"target": "femur"}):
        with pytest.raises(UsageError):
            Attachments(**wrong)


def test_curves_of_the_clinic_change_the_surrogates(files):
    usual = evaluate_files(**files)["scores"]
    flat = {"electron_density": ((-1000.0, 0.5), (3000.0, 0.5))}
    other = evaluate_files(**files, extras=Attachments(curves=flat))["scores"]
    assert other["surrogate_wepl_mae_mm"] == pytest.approx(0)
    assert other["surrogate_range_mae_mm"] == usual["surrogate_range_mae_mm"] > 0


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


def test_how_far_the_reference_moves_between_alignments_is_shown_with_the_mae(
    files, arrays, tmp_path
):
    reference, _, mask = arrays
    moved = np.roll(reference, 1, axis=2)
    other = save(tmp_path / "other.mha", moved)
    result = evaluate_files(**files, extras=Attachments(other_references=(other,)))
    jsonschema.validate(result, json_schema())
    apart = np.abs(moved.astype(float) - reference)[mask > 0].mean()
    assert result["floor"]["floor_mae_hu"] == pytest.approx(apart, rel=1e-5)
    assert result["floor"]["references"][0]["name"] == "other.mha"


def test_maps_lie_on_the_scan_and_say_where_along_the_beam_the_water_is_wrong(
    files, arrays, tmp_path
):
    reference, _, mask = arrays
    wrong = reference.astype(np.float32)
    wrong[:, 12, 14] += 500  # one dense voxel in every slice
    files["prediction"] = save(tmp_path / "wrong.mha", wrong)
    result = evaluate_files(**files, extras=Attachments(maps=tmp_path / "maps"))
    assert sorted(result["maps"]) == sorted(path.name for path in (tmp_path / "maps").iterdir())
    error, front, back, left, right = (
        sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "maps" / f"{name}.mha")))
        for name in ("error_hu", *(f"surrogate_wepl_photon_{a:03}_mm" for a in (0, 180, 90, 270)))
    )
    inside = mask[5] > 0
    assert np.argwhere(error[5]).tolist() == [[12, 14]]
    for wepl, behind in (
        (front, lambda y, x: (x == 14) & (y >= 12)),  # a beam from the front runs down the column
        (back, lambda y, x: (x == 14) & (y <= 12)),
        (left, lambda y, x: (y == 12) & (x <= 14)),
        (right, lambda y, x: (y == 12) & (x >= 14)),
    ):
        y, x = np.nonzero(np.abs(wepl[5]) > 1e-4)
        expected = inside & behind(*np.indices(inside.shape))
        assert set(zip(y, x, strict=True)) == set(zip(*np.nonzero(expected), strict=True))
    assert front[5, 20, 14] > 0
    assert front[5, 20, 14] == pytest.approx(back[5, 4, 14])


def test_an_absent_gpu_is_named_instead_of_scored_elsewhere(files):
    with pytest.raises(UsageError, match="no device 'tpu'"):
        evaluate_files(**files, extras=Attachments(device="tpu"))
