"""Files on other grids: reordered voxels are not resampled; cropped files are reported."""

from __future__ import annotations

import json
import unicodedata
from itertools import permutations, product

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st

from synthct.data.errors import DataError
from synthct.data.orientation import flipped, reordered_onto, turned
from synthct.data.volume import Grid, Modality, Volume
from synthct.tasks.evaluation.attachments import Attachments
from synthct.tasks.evaluation.files import evaluate_files
from tests.data.wild_images import write_zarr

SHAPE = (10, 14, 12)
ANGLE = np.deg2rad(17.0)
OBLIQUE = ((np.cos(ANGLE), -np.sin(ANGLE), 0.0), (np.sin(ANGLE), np.cos(ANGLE), 0.0), (0, 0, 1.0))
GRIDS = (
    Grid(SHAPE, (3.0, 1.5, 2.0), (-40.0, 12.5, 7.0)),
    Grid(SHAPE, (3.0, 1.5, 2.0), (-40.0, 12.5, 7.0), OBLIQUE),
)
ORDERS = tuple(product(permutations(range(3)), product((1, -1), repeat=3)))


@given(st.sampled_from(GRIDS), st.sampled_from(ORDERS))
@settings(max_examples=96, deadline=None)
def test_a_volume_in_any_of_48_orders_of_its_axes_is_the_same_volume(grid, order):
    volume = Volume(np.arange(np.prod(SHAPE)).reshape(SHAPE), grid, Modality.MR)
    turned_over = Volume(flipped(volume.array, *order), turned(grid, *order), Modality.MR)
    found = reordered_onto(turned_over, grid, 1e-3)
    assert found is not None
    np.testing.assert_array_equal(found.array, volume.array)
    assert found.grid == grid


@pytest.mark.parametrize("off_mm", [(0.5, 0, 0), (0, 0, -0.02)])
def test_a_volume_elsewhere_is_not_taken_for_the_same(off_mm):
    moved = Grid(SHAPE, GRIDS[0].spacing_mm, tuple(np.add(GRIDS[0].origin_mm, off_mm)))
    volume = Volume(np.zeros(SHAPE), moved, Modality.MR)
    assert reordered_onto(volume, GRIDS[0], 1e-3) is None
    mirrored = turned(GRIDS[0], (0, 1, 2), (1, 1, -1))
    assert reordered_onto(Volume(np.zeros(SHAPE), mirrored, Modality.MR), GRIDS[1], 1e-3) is None


def image(array, spacing=(2.0, 1.5, 3.0)):
    made = sitk.GetImageFromArray(np.asarray(array))
    made.SetSpacing(spacing)
    made.SetOrigin((7.0, 12.5, -40.0))
    return made


@pytest.fixture
def images():
    rng = np.random.default_rng(1)
    ct = rng.normal(0, 300, SHAPE).clip(-900, 1500).astype(np.int16)
    sct = (ct + rng.normal(0, 30, SHAPE)).astype(np.int16)
    mask = np.zeros(SHAPE, np.uint8)
    mask[1:-1, 2:-2, 1:-2] = 1
    gy = (50 + ct / 100).astype(np.float32)
    return {
        "ct": image(ct), "sct": image(sct), "mask": image(mask), "dose": image(gy),
        "liver": image((ct > 0).astype(np.uint8)), "source": image((ct + 1000).astype(np.float32)),
    }  # fmt: skip


def turned_over(one):
    return sitk.Flip(sitk.PermuteAxes(one, [2, 0, 1]), [True, False, True])


def write(folder, images, change=lambda one: one, ending=".mha"):
    (folder / "seg" / "reference").mkdir(parents=True)
    (folder / "seg" / "prediction").mkdir()
    sitk.WriteImage(images["ct"], str(folder / "ct.mha"))
    for name in ("sct", "mask", "dose", "source"):
        sitk.WriteImage(change(images[name]), str(folder / f"{name}{ending}"))
    for side in ("reference", "prediction"):
        sitk.WriteImage(change(images["liver"]), str(folder / "seg" / side / f"Liver.v2{ending}"))
    return folder


def scored(folder, ending=".mha", **options):
    dose = folder / f"dose{ending}"
    extras = Attachments(
        segmentations=folder / "seg", source=folder / f"source{ending}",
        dose_prediction=dose, dose_reference=dose,
    )  # fmt: skip
    mask = folder / f"mask{ending}"
    sct = folder / f"sct{ending}"
    return evaluate_files(sct, folder / "ct.mha", mask, extras, metrics=("mae_hu",), **options)


@pytest.mark.parametrize("ending", [".mha", ".nii.gz"])
def test_flipped_and_permuted_files_score_to_the_digit_and_are_not_resampled(
    images, tmp_path, ending
):
    plain = scored(write(tmp_path / "plain", images))
    other = scored(write(tmp_path / "turned", images, turned_over, ending), ending)
    assert other["resampled"] is False
    for part in ("scores", "warnings", "structures", "source"):
        assert json.dumps(other[part]) == json.dumps(plain[part])
    for part in ("gamma_pass_percent", "dvh"):
        assert other["dose"][part] == plain["dose"][part]


def test_a_header_rounded_by_a_hundredth_of_a_voxel_is_the_same_grid(images, tmp_path):
    folder = write(tmp_path / "files", images)
    near, far = sitk.Image(images["sct"]), sitk.Image(images["sct"])
    near.SetOrigin((7.002, 12.5, -40.0))
    far.SetOrigin((7.2, 12.5, -40.0))
    sitk.WriteImage(near, str(folder / "near.mha"))
    sitk.WriteImage(far, str(folder / "far.mha"))
    evaluate_files(folder / "near.mha", folder / "ct.mha", metrics=("mae_hu",))
    with pytest.raises(DataError) as caught:
        evaluate_files(folder / "far.mha", folder / "ct.mha", metrics=("mae_hu",))
    assert caught.value.code == "grid-mismatch"


def test_a_cropped_file_says_what_part_of_the_mask_it_lacks(images, tmp_path):
    folder = write(tmp_path / "files", images)
    # The mask's 8 slices are 1 to 8; the cropped files begin at slice 3: a quarter is missing.
    for name in ("sct", "source", "dose"):
        sitk.WriteImage(images[name][:, :, 3:], str(folder / f"{name}.mha"))
    result = scored(folder, resample=True)["warnings"]
    for name in ("sct.mha", "source.mha", "dose.mha"):
        assert any(text.startswith(f"{name}: 25.00% of the scored voxels") for text in result), name
    assert any("count as air (-1024 HU)" in text for text in result)


def test_a_larger_file_needs_no_warning(images, tmp_path):
    folder = write(tmp_path / "files", images)
    padded = sitk.ConstantPad(images["sct"], [3, 3, 3], [3, 3, 3], -1000)
    sitk.WriteImage(padded, str(folder / "sct.mha"))
    document = scored(folder, resample=True)
    assert document["resampled"] is True
    assert not any("lie outside" in text for text in document["warnings"])


def test_beams_come_from_the_patients_sides_however_the_reference_is_stored(images, tmp_path):
    """Water-equivalent paths follow the axes of the array, which a coronal file has elsewhere."""
    folder = write(tmp_path / "files", images)
    metrics = ("mae_hu", "dose_surrogates")
    plain = evaluate_files(folder / "sct.mha", folder / "ct.mha", metrics=metrics)
    for name, order in {"coronal": (0, 2, 1), "sagittal": (1, 2, 0)}.items():
        permuted = sitk.PermuteAxes(images["ct"], order)
        sitk.WriteImage(sitk.Flip(permuted, (False, True, False)), str(folder / f"{name}.nrrd"))
        other = evaluate_files(folder / "sct.mha", folder / f"{name}.nrrd", metrics=metrics)
        for score, value in plain["scores"].items():
            assert other["scores"][score] == pytest.approx(value, rel=1e-9), (name, score)
        assert other["warnings"] == plain["warnings"]


def test_files_that_macos_lays_beside_masks_are_no_structures(images, tmp_path):
    folder = write(tmp_path / "files", images)
    (folder / "seg" / "reference" / "._Liver.v2.mha").write_bytes(b"\0\5\x16\7")
    assert scored(folder)["structures"]["scores"]["dice_Liver.v2"] == 1


def test_a_name_that_macos_wrote_is_the_same_structure(images, tmp_path):
    folder = write(tmp_path / "files", images)
    mask = sitk.Cast(images["liver"], sitk.sitkUInt8)
    for side, form in (("reference", "NFC"), ("prediction", "NFD")):
        name = unicodedata.normalize(form, "Speiseröhre")
        sitk.WriteImage(mask, str(folder / "seg" / side / f"{name}.nii.gz"))
    assert scored(folder)["structures"]["scores"]["dice_Speiseröhre"] == 1


def test_structures_that_differ_after_the_first_dot_are_two(images, tmp_path):
    folder = write(tmp_path / "files", images)
    left = sitk.Cast(images["liver"], sitk.sitkUInt8)
    right = sitk.Cast(images["liver"] == 0, sitk.sitkUInt8)
    for side in ("reference", "prediction"):
        for name, one in (("Lung.L", left), ("Lung.R", right), ("PTV_50.4", left)):
            sitk.WriteImage(one, str(folder / "seg" / side / f"{name}.nii.gz"))
    scores = scored(folder)["structures"]["scores"]
    for name in ("Lung.L", "Lung.R", "PTV_50.4", "Liver.v2"):
        assert scores[f"dice_{name}"] == 1, name


@pytest.mark.parametrize("ending", [".zarr", ".ome.zarr"])
def test_structures_in_ome_zarr_have_the_names_that_they_have_in_other_formats(
    images, tmp_path, ending
):
    folder = write(tmp_path / "files", images)
    (folder / "seg" / "map").mkdir()
    liver = sitk.GetArrayFromImage(images["liver"])
    where = Grid(SHAPE, (3.0, 1.5, 2.0), (-40.0, 12.5, 7.0))
    for name in ("reference/Lung.L", "map/reference"):
        write_zarr(folder / "seg" / f"{name}{ending}", where, liver)
    for name in ("prediction/Lung.L", "map/prediction"):
        sitk.WriteImage(images["liver"], str(folder / "seg" / f"{name}.nii.gz"))
    assert scored(folder)["structures"]["scores"]["dice_Lung.L"] == 1
    extras = Attachments(segmentations=folder / "seg" / "map")
    document = evaluate_files(folder / "sct.mha", folder / "ct.mha", extras=extras)
    assert document["structures"]["scores"]["dice_label_1"] == 1


@pytest.mark.parametrize("how", ["two files", "two labels"])
def test_one_name_for_two_structures_is_refused_not_overwritten(images, tmp_path, how):
    folder = write(tmp_path / "files", images)
    if how == "two files":
        sitk.WriteImage(images["liver"], str(folder / "seg" / "reference" / "Liver.v2.nii.gz"))
    else:
        (folder / "maps").mkdir()
        for side in ("reference", "prediction"):
            sitk.WriteImage(images["liver"] + 1, str(folder / "maps" / f"{side}.nii.gz"))
        (folder / "maps" / "labels.json").write_text('{"1": "liver", "2": "liver"}')
    seg = folder / ("seg" if how == "two files" else "maps")
    with pytest.raises(DataError) as caught:
        evaluate_files(
            folder / "sct.mha", folder / "ct.mha", extras=Attachments(segmentations=seg),
            metrics=("mae_hu",),
        )  # fmt: skip
    assert caught.value.code == "structure-twice"


@pytest.mark.parametrize("search", ["interpolated", "discrete"])
def test_gamma_where_no_dose_lies_in_the_mask_has_no_value_and_says_so(images, tmp_path, search):
    folder = write(tmp_path / "files", images)
    gy = np.zeros(SHAPE, np.float32)
    gy[0] = 30.0  # the mask begins at slice 1
    sitk.WriteImage(image(gy), str(folder / "dose.mha"))
    extras = Attachments(
        dose_prediction=folder / "dose.mha", dose_reference=folder / "dose.mha", gamma=search
    )
    document = evaluate_files(
        folder / "sct.mha", folder / "ct.mha", folder / "mask.mha", extras, metrics=("mae_hu",)
    )
    assert document["dose"]["gamma_pass_percent"] == {"2%/2mm": None, "3%/3mm": None}
    assert any("nothing to judge" in text for text in document["warnings"])
    result = document["dose"]["gamma_convention"]
    assert (result["search"], result["normalisation"], result["cutoff_percent"]) == (
        search,
        "global",
        10,
    )


def test_a_structure_outside_the_mask_is_reported_not_dropped_in_silence(images, tmp_path):
    """A mask by a threshold of HU cuts both lungs out."""
    folder = write(tmp_path / "files", images)
    rim = np.zeros(SHAPE, np.uint8)
    rim[0] = 1  # the mask begins at slice 1
    for side in ("reference", "prediction"):
        sitk.WriteImage(image(rim), str(folder / "seg" / side / "Lung.R.mha"))
    document = scored(folder)
    assert "dice_Lung.R" not in document["structures"]["scores"]
    assert any(text.startswith("Lung.R: no voxel of it") for text in document["warnings"])
