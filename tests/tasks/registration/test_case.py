import json

import numpy as np
import pytest
import SimpleITK as sitk

from synthct.data.errors import DataError
from synthct.data.files import tree_hashes
from synthct.data.itk import resample
from synthct.data.store.volumes import read_displacement, read_volume, write_volume
from synthct.data.volume import Modality
from synthct.tasks.fields.geometry import displacement_of
from synthct.tasks.registration.case import register_case


def quality_of(folder):
    return json.loads((folder / "quality.json").read_text())


def moved_by(transform, known, grid):
    return resample(known.moving, grid, transform=transform, outside=-1024).array


def test_the_error_is_halved_and_the_gate_agrees(case):
    truth = quality_of(case)["truth"]
    assert truth["best_rigid_mm"] > 4
    assert truth["registered_mm"] < 0.5 * truth["best_rigid_mm"]
    assert quality_of(case)["verdict"] == "pass"


def test_the_steps_improve_on_each_other_in_the_metric_nobody_optimised(case):
    steps = quality_of(case)["steps"]
    edges = [steps[name]["edges"] for name in ("identity", "rigid", "deformable")]
    assert edges == sorted(edges)


def test_points_map_the_right_way(case, known):
    """The CT at x + u(x) is what the source shows at x: the moved CT is the true one."""
    u = read_displacement(case / "displacement.zarr")
    inside = read_volume(case / "mask.zarr").array > 0
    mean = u.vectors[:, inside].mean(axis=1)
    at_grid = read_displacement(case / "truth_displacement.zarr").vectors[:, inside].mean(axis=1)
    np.testing.assert_allclose(mean, at_grid, atol=1.0)
    assert np.sign(mean).tolist() == [1, -1, 1]  # the shift of conftest: (3, -7, 5) mm


def test_the_moved_ct_is_nearer_to_the_true_one(case):
    inside = read_volume(case / "mask.zarr").array > 0
    truth = read_volume(case / "truth_ct.zarr").array[inside].astype(float)
    after = np.abs(read_volume(case / "ct.zarr").array[inside] - truth).mean()
    before = np.abs(read_volume(case / "unregistered_ct.zarr").array[inside] - truth).mean()
    assert after < 0.6 * before


def test_the_transform_file_gives_the_same_moved_image_and_field(case, known):
    transform = sitk.ReadTransform(str(case / quality_of(case)["transform"]))
    ct = read_volume(case / "ct.zarr")
    assert ct.array.dtype == np.int16
    again = np.rint(moved_by(transform, known, ct.grid))
    assert (again == ct.array).mean() > 0.999  # halves round either way
    assert np.abs(again - ct.array).max() <= 1
    u = read_displacement(case / "displacement.zarr")
    np.testing.assert_allclose(displacement_of(transform, u.grid).vectors, u.vectors, atol=1e-3)


def test_the_field_applied_by_itk_gives_the_moved_image_too(case, known):
    from synthct.data.itk import displacement_to_itk

    u = read_displacement(case / "displacement.zarr")
    field = sitk.DisplacementFieldTransform(displacement_to_itk(u))
    ct = read_volume(case / "ct.zarr").array
    assert np.abs(moved_by(field, known, u.grid) - ct).mean() < 1.0


def test_everything_lies_on_one_grid(case):
    names = ["source", "mask", "ct", "unregistered_ct", "truth_ct"]
    grids = [read_volume(case / f"{name}.zarr").grid for name in names]
    grids.append(read_displacement(case / "displacement.zarr").grid)
    assert all(grid.is_close(grids[0]) for grid in grids)
    assert grids[0].spacing_mm == (5.0, 4.0, 4.0)


def test_the_mask_holds_no_voxel_that_the_ct_did_not_see(case):
    mask = read_volume(case / "mask.zarr")
    assert mask.modality == Modality.MASK
    assert (read_volume(case / "ct.zarr").array[mask.array > 0] > -1024).all()


def test_the_same_seed_gives_the_same_bytes_and_nothing_elsewhere(
    case, stored, arguments, tmp_path, monkeypatch, capfd
):
    out, work = tmp_path / "out", tmp_path / "cwd"
    out.mkdir()
    work.mkdir()
    monkeypatch.chdir(work)
    register_case(out=out, **stored, **arguments())
    assert dict(tree_hashes(out)) == dict(tree_hashes(case))
    assert not list(work.iterdir())
    assert capfd.readouterr().out == ""


def test_another_seed_gives_another_result(case, stored, arguments, tmp_path):
    register_case(out=tmp_path, **stored, **arguments(seed=8))
    other = read_displacement(tmp_path / "displacement.zarr").vectors
    assert (other != read_displacement(case / "displacement.zarr").vectors).any()


def test_case_json_says_who_and_how_sure(case):
    assert json.loads((case / "case.json").read_text()) == {
        "case": "XX-01_mr",
        "patient": "XX-01",
        "source": "mr",
        "region": "other",
        "synthetic": True,
        "method": "elastix_mi",
        "verdict": "pass",
    }


def test_a_guarded_sample_region_is_reported(stored, arguments, tmp_path):
    preset = arguments()["preset"]
    preset["bspline"] |= {"sample_region_mm": 1000.0, "iterations": [5, 5, 5]}
    preset["rigid"]["iterations"] = [20, 20, 20]
    register_case(out=tmp_path, **stored, **arguments(preset=preset))
    quality = quality_of(tmp_path)
    assert quality["sample_region_asked_mm"] == 1000.0
    assert 50 < quality["sample_region_mm"] < 150
    assert "deformable" in quality["steps"], quality["failures"]


def test_a_stiff_bone_penalty_runs_and_reports_no_failure(stored, arguments, tmp_path):
    preset = arguments()["preset"]
    preset["bspline"] |= {"rigidity_weight": 1.0, "iterations": [20, 20, 20]}
    register_case(out=tmp_path, **stored, **arguments(preset=preset))
    assert quality_of(tmp_path)["failures"] == {}


def test_a_step_that_diverges_leaves_the_rigid_result_marked(stored, arguments, tmp_path):
    preset = arguments()["preset"]
    preset["bspline"] |= {"bending_weight": 1e9}
    register_case(out=tmp_path, **stored, **arguments(preset=preset))
    quality = quality_of(tmp_path)
    assert (quality["step"], quality["verdict"]) == ("rigid", "suspect")
    assert "deformable" in quality["reason"]
    assert np.isfinite(read_displacement(tmp_path / "displacement.zarr").vectors).all()


def test_a_pair_without_a_common_part_is_a_fault_not_an_identity(known, arguments, tmp_path):
    """The CT of another place, too small to hold anything of the body."""
    paths = known.write(tmp_path / "in")
    speck = np.zeros(known.moving_body.grid.shape, np.uint8)
    speck[0, 0, 0] = speck[0, 0, 1] = 1
    array = known.moving.array.copy()
    array[0, 0, 0] = 900
    write_volume(tmp_path / "in/ct.zarr", known.moving.with_array(array))
    write_volume(tmp_path / "in/ct_body.zarr", known.moving_body.with_array(speck))
    out = tmp_path / "out"
    out.mkdir()
    try:
        register_case(out=out, **paths, **arguments())
    except DataError as fault:
        assert fault.code in {"no-overlap", "units", "elastix-failed"}  # noqa: PT017
    else:
        assert quality_of(out)["verdict"] == "fail"


@pytest.mark.parametrize("spoil", ["constant", "empty"])
def test_an_unfit_scan_is_a_data_fault_so_the_chain_goes_on(known, arguments, tmp_path, spoil):
    paths = known.write(tmp_path / "in")
    zeros = np.zeros(known.fixed.grid.shape, np.uint8)
    if spoil == "constant":
        write_volume(tmp_path / "in/mr.zarr", known.fixed.with_array(zeros.astype(np.float32)))
    else:
        write_volume(tmp_path / "in/mr_body.zarr", known.fixed_body.with_array(zeros))
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(DataError):
        register_case(out=out, **paths, **arguments())
