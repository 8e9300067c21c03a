import numpy as np

from synthct.data.volume import Displacement, Grid, Modality, Volume
from synthct.tasks.registration.gate.bone import FEWEST_VOXELS, BoneMotion, bone_motion

GRID = Grid((8, 10, 12), (3.0, 2.0, 1.0))
INSIDE = np.ones(GRID.shape, bool)


def scan(modality, bone=slice(4, 8)):
    array = np.zeros(GRID.shape, np.float32)
    array[:, :, bone] = 900.0
    return Volume(array, GRID, modality)


def stretched(where, by=0.1):
    """X stretched by ``by`` where ``where`` begins, along x."""
    u = np.zeros((3, *GRID.shape), np.float32)
    u[2] = by * np.maximum(np.arange(12) - where, 0)
    return Displacement(u, GRID)


def still():
    return Displacement(np.zeros((3, *GRID.shape), np.float32), GRID)


def test_bone_that_stays_rigid_while_tissue_stretches_is_not_blamed():
    found = bone_motion(scan(Modality.MR), scan(Modality.CT), INSIDE, stretched(8.5), still())
    assert found.voxels == 8 * 10 * 4
    assert found.strain == 0.0


def test_bone_that_is_stretched_has_the_strain_of_the_stretch():
    found = bone_motion(scan(Modality.MR), scan(Modality.CT), INSIDE, stretched(-5), still())
    np.testing.assert_allclose(found.strain, (1.1**2 - 1) / 2, rtol=1e-4)
    np.testing.assert_allclose(found.local_p95_mm, 0.1 * 12, rtol=1e-4)


def test_the_fixed_scan_s_bone_counts_where_it_is_the_ct():
    found = bone_motion(scan(Modality.CT), scan(Modality.MR), INSIDE, stretched(-5), None)
    assert found.strain > 0.1
    assert found.local_p95_mm == 0.0


def test_without_a_ct_or_with_a_handful_of_bone_nothing_is_reported():
    none = bone_motion(scan(Modality.MR), scan(Modality.CBCT), INSIDE, stretched(-5), None)
    assert none == BoneMotion()
    few = np.zeros(GRID.shape, bool)
    few[0, 0, :] = True
    found = bone_motion(scan(Modality.MR), scan(Modality.CT), few, stretched(-5), None)
    assert found.voxels < FEWEST_VOXELS
    assert found.strain == 0.0


def test_specks_of_bone_in_a_lung_do_not_throw_a_step_away():
    grid = Grid((40, 40, 40), (3.0, 3.0, 3.0))
    body = np.ones(grid.shape, bool)
    array = np.zeros(grid.shape, np.float32)
    array[:4, :4, :4] = 900.0  # 64 of 64,000 voxels
    u = np.zeros((3, *grid.shape), np.float32)
    u[2] = 0.3 * 3.0 * np.arange(40)
    specks = Volume(array, grid, Modality.CT)
    found = bone_motion(
        specks.with_array(array, Modality.MR), specks, body, Displacement(u, grid), None
    )
    assert found.voxels == 64 >= FEWEST_VOXELS
    assert found.strain == 0.0
