import json

import numpy as np
import pytest
import SimpleITK as sitk

from synthct.data.errors import DataError, UsageError
from synthct.data.readers import read_displacement_image, read_scan
from synthct.data.volume import Modality, Volume
from synthct.data.writers import write_image
from synthct.tasks.registration import presets
from synthct.tasks.registration.pair import register_files


@pytest.fixture(scope="module")
def files(known, tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    write_image(folder / "mr.nii.gz", known.fixed)
    write_image(folder / "ct.mha", known.moving)
    write_image(folder / "mr_body.mha", known.fixed_body)
    write_image(folder / "ct_body.mha", known.moving_body)
    return folder


@pytest.fixture(scope="module")
def result(files, quick, tmp_path_factory):
    out = tmp_path_factory.mktemp("registered") / "out"
    steps = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(presets.PRESETS, "quick", quick)
        quality = register_files(
            files / "mr.nii.gz",
            files / "ct.mha",
            fixed_mask=files / "mr_body.mha",
            moving_mask=files / "ct_body.mha",
            fixed_modality=Modality.MR,
            moving_modality=Modality.CT,
            preset="quick",
            out=out,
            progress=steps.append,
        ).quality
    return out, quality, steps


def request(files, **changes):
    return {
        "fixed": files / "mr.nii.gz",
        "moving": files / "ct.mha",
        "fixed_modality": Modality.MR,
        "moving_modality": Modality.CT,
        "preset": "mr_AB",
    } | changes


def test_the_folder_holds_what_the_command_promises(result):
    out, quality, steps = result
    assert {path.name for path in out.iterdir()} == {
        "moved.mha", "displacement.mha", "transform.tfm", "quality.json",
        "before_after.png",
    }  # fmt: skip
    assert json.loads((out / "quality.json").read_text()) == json.loads(json.dumps(quality))
    assert (out / quality["transform"]).is_file()
    assert steps == ["read", "rigid", "deformable", "gate", "write"]
    assert {"straight", "mirrored", "reversed_"} < set(quality["sides"])  # the guard was asked


def test_transform_and_field_applied_by_itk_give_the_moved_image(result, files):
    out, quality, _ = result
    fixed = sitk.ReadImage(str(files / "mr.nii.gz"))
    moving = sitk.ReadImage(str(files / "ct.mha"))
    moved = sitk.GetArrayFromImage(sitk.ReadImage(str(out / "moved.mha"))).astype(float)
    field = sitk.ReadImage(str(out / "displacement.mha"), sitk.sitkVectorFloat64)
    for transform in (
        sitk.ReadTransform(str(out / quality["transform"])),
        sitk.DisplacementFieldTransform(field),
    ):
        again = sitk.Resample(moving, fixed, transform, sitk.sitkLinear, -1024.0)
        assert np.abs(sitk.GetArrayFromImage(again) - moved).max() <= 2.0


def test_the_result_lies_on_the_fixed_scan(result, files):
    fixed = read_scan(files / "mr.nii.gz", Modality.MR)
    assert read_scan(result[0] / "moved.mha", Modality.CT).grid.is_close(fixed.grid)
    assert read_displacement_image(result[0] / "displacement.mha").grid.is_close(fixed.grid)


def test_a_folder_of_something_else_is_never_replaced(files, tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(UsageError) as caught:
        register_files(**request(files), out=tmp_path)
    assert caught.value.code == "out-not-empty"
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"method": "elastixmi"}, "unknown-registration-method"),
        ({"preset": "mr_AA"}, "unknown-preset"),
        ({"moving_modality": None}, "modality-unknown"),
    ],
)
def test_a_wrong_request_is_reported_before_anything_is_written(files, tmp_path, changes, code):
    with pytest.raises(UsageError) as caught:
        register_files(**request(files, **changes), out=tmp_path / "out")
    assert caught.value.code == code
    assert not (tmp_path / "out").exists()


def test_a_mask_of_another_scan_is_refused(files, known, tmp_path):
    write_image(tmp_path / "mask.mha", known.fixed_body.crop((0, 0, 0), (9, 9, 9)))
    with pytest.raises(DataError) as caught:
        register_files(**request(files, fixed_mask=tmp_path / "mask.mha"), out=tmp_path / "out")
    assert caught.value.code == "mask-elsewhere"
    assert caught.value.where == str(tmp_path / "mask.mha")


@pytest.mark.parametrize("role", ["fixed", "moving"])
def test_an_empty_mask_or_a_scan_without_an_image_does_not_say_which_file(
    files, known, tmp_path, role
):
    scan = getattr(known, role)
    write_image(tmp_path / "flat.mha", scan.with_array(np.zeros_like(scan.array)))
    none = Volume(np.zeros(scan.grid.shape, np.uint8), scan.grid, Modality.MASK)
    whole = none.with_array(np.ones(scan.grid.shape, np.uint8))
    write_image(tmp_path / "none.mha", none)
    write_image(tmp_path / "whole.mha", whole)
    faults = {
        "mask-empty": {f"{role}_mask": tmp_path / "none.mha"},
        "scan-constant": {role: tmp_path / "flat.mha", f"{role}_mask": tmp_path / "whole.mha"},
    }
    for code, given in faults.items():
        with pytest.raises(DataError) as caught:
            register_files(**request(files, **given), out=tmp_path / "out")
        assert (caught.value.code, caught.value.where) == (code, str(next(iter(given.values()))))


def test_a_single_slice_is_refused(known, files, tmp_path):
    thin = known.fixed.crop((10, 0, 0), (12, 48, 48))
    write_image(tmp_path / "thin.mha", thin)
    with pytest.raises(DataError) as caught:
        register_files(**request(files, fixed=tmp_path / "thin.mha"), out=tmp_path / "out")
    assert caught.value.code == "extent-too-small"
