"""What other programs read: transform and field by ITK, for every method, on awkward grids."""

import json
from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk

from synthct.data.errors import DataError, UsageError
from synthct.data.itk import from_itk, resample, to_itk
from synthct.data.volume import Displacement, Modality, Volume
from synthct.data.writers import write_image
from synthct.tasks.fields.geometry import in_fixed_frame
from synthct.tasks.registration import presets
from synthct.tasks.registration.gate.params import GateParams
from synthct.tasks.registration.methods import METHODS
from synthct.tasks.registration.pair import register_files
from synthct.tasks.registration.rigid.initial import after, read_initial

DENSE = {"deformation": {"name": "dense"}, "factors": [2], "iterations": [8]}
SPLINE = {"factors": [2], "iterations": [8]}
CASES = [("elastix_mi", {}), ("mind", DENSE)] + [
    (name, SPLINE) for name in METHODS.names() if name not in ("elastix_mi", "impact")
]


def turned(volume, degrees, shift=(0.0, 0.0, 0.0)):
    """The scan with its header (not its voxels) turned and shifted in space."""
    there = sitk.Euler3DTransform()
    there.SetRotation(*np.deg2rad([degrees, 0.5 * degrees, -degrees]))
    there.SetTranslation(shift)
    return from_itk(in_fixed_frame(to_itk(volume), there), volume.modality)


@pytest.fixture(scope="module")
def awkward(known, tmp_path_factory):
    """An oblique, anisotropic fixed scan and a moving one on other voxels."""
    folder = tmp_path_factory.mktemp("awkward")
    coarse = known.moving.grid.with_spacing((6.0, 5.0, 5.0))
    moving = resample(known.moving, coarse, outside=-1000)
    body = resample(known.moving_body, coarse, outside=0, nearest=True)
    for name, volume in (
        ("mr", known.fixed), ("ct", moving), ("mr_body", known.fixed_body), ("ct_body", body),
    ):  # fmt: skip
        write_image(folder / f"{name}.mha", turned(volume, 12.0))
    return folder


@pytest.fixture(autouse=True)
def _hasty(monkeypatch, quick):
    hasty = replace(
        quick,
        rigid=replace(quick.rigid, iterations=(30, 20, 20), samples=1000),
        bspline=replace(quick.bspline, iterations=(20, 20, 20)),
    )
    monkeypatch.setitem(presets.PRESETS, "hasty", hasty)


def run(folder, out, **changes):
    return register_files(
        folder / "mr.mha",
        folder / "ct.mha",
        out=out,
        **{
            "fixed_mask": folder / "mr_body.mha",
            "moving_mask": folder / "ct_body.mha",
            "fixed_modality": Modality.MR,
            "moving_modality": Modality.CT,
            "preset": "hasty",
        }
        | changes,
    ).quality


def agree(folder, out, quality):
    """Transform and field move the CT to what was written, inside the body."""
    fixed, moving = (sitk.ReadImage(str(folder / f"{name}.mha")) for name in ("mr", "ct"))
    body = sitk.GetArrayFromImage(sitk.ReadImage(str(folder / "mr_body.mha"))) > 0
    moved = sitk.GetArrayFromImage(sitk.ReadImage(str(out / "moved.mha"))).astype(float)
    field = sitk.ReadImage(str(out / "displacement.mha"), sitk.sitkVectorFloat64)
    transform = sitk.ReadTransform(str(out / quality["transform"]))
    for found in (transform, sitk.DisplacementFieldTransform(sitk.Image(field))):
        again = sitk.Resample(moving, fixed, found, sitk.sitkLinear, -1024.0)
        assert np.abs(sitk.GetArrayFromImage(again) - moved)[body].max() <= 3.0
    at = [int(n) for n in np.argwhere(body)[len(np.argwhere(body)) // 3][::-1]]
    point = np.array(fixed.TransformIndexToPhysicalPoint(at))
    np.testing.assert_allclose(transform.TransformPoint(point) - point, field[at], atol=1e-3)


@pytest.mark.parametrize(("method", "options"), CASES, ids=lambda value: str(value)[:20])
def test_itk_moves_the_scan_as_we_did_on_oblique_anisotropic_and_different_grids(
    awkward, tmp_path, method, options
):
    quality = run(awkward, tmp_path / "out", method=method, method_options=options)
    agree(awkward, tmp_path / "out", quality)
    assert quality["failures"] == {}
    assert json.loads((tmp_path / "out" / "quality.json").read_text())["method"] == method


def test_points_go_the_right_way(awkward, known, tmp_path):
    """From fixed to moving: the truth between the headers is the known displacement, turned."""
    run(awkward, tmp_path / "out")
    field = sitk.ReadImage(str(tmp_path / "out/displacement.mha"), sitk.sitkVectorFloat64)
    found = np.moveaxis(sitk.GetArrayFromImage(field), -1, 0)[::-1]
    grid = from_itk(sitk.ReadImage(str(awkward / "mr.mha")), Modality.MR).grid
    turn = np.asarray(grid.direction)
    truth = Displacement(np.einsum("ij,jzyx->izyx", turn, known.truth.vectors), grid)
    inside = known.fixed_body.array > 0
    error = np.linalg.norm(found - truth.vectors, axis=0)[inside].mean()
    backwards = np.linalg.norm(found + truth.vectors, axis=0)[inside].mean()
    assert error < 0.7 * np.linalg.norm(truth.vectors, axis=0)[inside].mean()
    assert backwards > 2 * error


@pytest.fixture
def far(known, tmp_path):
    """The pair with the CT in another scanner's frame, and files that say how to come there."""
    away = sitk.Euler3DTransform()
    away.SetRotation(*np.deg2rad([0.0, 0.0, 70.0]))
    away.SetTranslation((300.0, -200.0, 150.0))
    names = {"mr": known.fixed, "mr_body": known.fixed_body}
    for name, volume in (("ct", known.moving), ("ct_body", known.moving_body)):
        carried = in_fixed_frame(to_itk(volume), away.GetInverse())
        names[name] = from_itk(carried, volume.modality)
    for name, volume in names.items():
        write_image(tmp_path / f"{name}.mha", volume)
    wrong = sitk.Euler3DTransform(away)
    wrong.SetTranslation((240.0, -200.0, 150.0))
    sitk.WriteTransform(away, str(tmp_path / "right.tfm"))
    sitk.WriteTransform(wrong, str(tmp_path / "wrong.tfm"))
    return tmp_path


def test_the_most_informative_of_several_initial_transforms_solves_a_far_start(far):
    quality = run(far, far / "out", initial=[far / "wrong.tfm", far / "right.tfm"])
    assert quality["initial"] == 1
    assert quality["verdict"] != "fail"
    agree(far, far / "out", quality)


@pytest.mark.parametrize("kind", ["affine", "spline", "nothing", "text"])
def test_an_initial_transform_that_is_not_rigid_is_reported_before_reading(tmp_path, kind):
    path = tmp_path / "initial.tfm"
    if kind == "affine":
        transform = sitk.AffineTransform(3)
        transform.Scale(1.1)
        sitk.WriteTransform(transform, str(path))
    elif kind == "spline":
        sitk.WriteTransform(sitk.BSplineTransform(3, 3), str(path))
    elif kind == "text":
        path.write_text("hello")
    nowhere = tmp_path / "no.mha"
    with pytest.raises(UsageError) as caught:
        register_files(nowhere, nowhere, initial=[path], out=tmp_path / "out")
    assert caught.value.code == (
        "initial-unreadable" if kind in ("nothing", "text") else "initial-not-rigid"
    )


def test_after_applies_the_found_transform_first(tmp_path):
    shift, turn = sitk.TranslationTransform(3, (10.0, 0.0, 0.0)), sitk.Euler3DTransform()
    turn.SetRotation(0.0, 0.0, np.pi / 2)
    both = after(turn, sitk.CompositeTransform([shift]))
    np.testing.assert_allclose(both.TransformPoint((0.0, 0.0, 0.0)), (0.0, 10.0, 0.0), atol=1e-9)
    sitk.WriteTransform(both, str(tmp_path / "both.tfm"))
    again = sitk.ReadTransform(str(tmp_path / "both.tfm"))
    assert again.TransformPoint((1.0, 2.0, 3.0)) == pytest.approx(
        both.TransformPoint((1.0, 2.0, 3.0))
    )
    assert read_initial_of(turn, tmp_path).TransformPoint((1.0, 0.0, 0.0)) == pytest.approx(
        (0.0, 1.0, 0.0)
    )


def read_initial_of(transform, folder):
    sitk.WriteTransform(transform, str(folder / "rigid.tfm"))
    return read_initial(folder / "rigid.tfm")


def broken(known, kind):
    """(CT, its mask) that no registration can use, by what is wrong with it."""
    ct, body = known.moving, known.moving_body
    if kind == "constant":
        return ct.with_array(np.full_like(ct.array, 40)), body
    if kind == "nan":
        array = ct.array.astype(np.float32)
        array[10, 20, 20] = np.nan
        return ct.with_array(array), body
    if kind == "empty mask":
        return ct, body.with_array(np.zeros_like(body.array))
    if kind == "flat":
        return ct.crop((10, 0, 0), (11, 48, 48)), body.crop((10, 0, 0), (11, 48, 48))
    if kind == "metres":
        grid = replace(ct.grid, spacing_mm=(0.005, 0.004, 0.004), origin_mm=(0.0, 0.0, 0.0))
        return Volume(ct.array, grid, ct.modality), Volume(body.array, grid, body.modality)
    return ct.with_array(np.abs(ct.array.astype(np.int32)) + 10), body  # an MR called CT


@pytest.mark.parametrize(
    ("kind", "codes"),
    [
        ("constant", {"scan-constant"}),
        ("nan", {"not-finite"}),
        ("empty mask", {"mask-empty"}),
        ("flat", {"not-3d", "extent-too-small", "elastix-failed", "units"}),
        ("metres", {"units"}),
        ("MR called CT", {"not-hounsfield"}),
    ],
)
def test_unfit_input_is_a_typed_fault_and_leaves_no_folder(awkward, known, tmp_path, kind, codes):
    ct, body = broken(known, kind)
    write_image(tmp_path / "ct.mha", ct)
    write_image(tmp_path / "body.mha", body)
    with pytest.raises(DataError) as caught:
        register_files(
            awkward / "mr.mha",
            tmp_path / "ct.mha",
            fixed_modality=Modality.MR,
            moving_modality=Modality.CT,
            moving_mask=tmp_path / "body.mha",
            preset="hasty",
            out=tmp_path / "out",
        )
    assert caught.value.code in codes
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_scan_under_100_mm_is_registered_with_a_smaller_sample_region(known, tmp_path):
    """Stock elastix raises where its sample region does not fit."""
    box = (4, 12, 12), (20, 36, 36)
    for name, volume in (
        ("mr", known.fixed), ("ct", known.moving), ("mr_body", known.fixed_body),
        ("ct_body", known.moving_body),
    ):  # fmt: skip
        write_image(tmp_path / f"{name}.mha", volume.crop(*box))
    local = presets.PRESETS["hasty"]
    presets.PRESETS["hasty"] = replace(
        local, bspline=replace(local.bspline, sample_region_mm=100.0)
    )
    # So small a pair is in doubt, and a search of all poses has its own tests.
    quality = run(tmp_path, tmp_path / "out", gate=GateParams(search_globally=False))
    assert quality["sample_region_mm"] == pytest.approx(0.8 * 80.0)
    assert quality["sample_region_asked_mm"] == 100.0
    assert "deformable" not in quality["failures"]
