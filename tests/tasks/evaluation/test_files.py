"""`synthct evaluate` on two files: defects are reported, never averaged over."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import SimpleITK as sitk

from synthct.data.errors import UsageError
from synthct.data.files import canonical_json
from synthct.tasks.evaluation.attachments import Attachments
from synthct.tasks.evaluation.document import json_schema
from synthct.tasks.evaluation.files import evaluate_files
from tests.fixtures.scored_files import SHAPE, save


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
