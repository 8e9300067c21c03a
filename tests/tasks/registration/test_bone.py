import numpy as np

from synthct.data.volume import Displacement, Grid, Modality, Volume
from synthct.tasks.registration.bone import (
    MIN_VOXELS,
    BoneMotion,
    bone_darkness,
    bone_motion,
)

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
    assert found.voxels < MIN_VOXELS
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
    assert found.voxels == 64 >= MIN_VOXELS
    assert found.strain == 0.0


def leg(shift=0, seed=0):
    """MR and CT of a bright limb with a dark tube of cortex, the CT moved by ``shift`` voxels."""
    grid = Grid((10, 40, 40), (3.0, 2.0, 2.0))
    y, x = np.indices(grid.shape[1:])
    noise = np.random.default_rng(seed).normal(0, 20, grid.shape)
    mr, ct = np.empty(grid.shape, np.float32), np.empty(grid.shape, np.float32)
    for array, at, tissue, cortex in ((mr, 20, 300, 20), (ct, 20 + shift, 50, 1200)):
        radius = np.hypot(y - 20, x - at)
        array[:] = np.where((radius >= 4) & (radius < 7), cortex, tissue) + noise
    return Volume(mr, grid, Modality.MR), Volume(ct, grid, Modality.CT), np.ones(grid.shape, bool)


def test_cortex_on_the_dark_ring_of_the_mr_is_darker_almost_surely_and_elsewhere_by_chance():
    mr, ct, body = leg()
    assert bone_darkness(mr, ct, body) > 0.98
    assert bone_darkness(ct, mr, body) == bone_darkness(mr, ct, body)
    beside = [bone_darkness(*leg(shift)) for shift in (0, 1, 2, 3)]
    assert beside == sorted(beside, reverse=True)
    assert beside[-1] < 0.75
    noise = np.random.default_rng(1).normal(0, 1, mr.array.shape).astype(np.float32)
    assert abs(bone_darkness(mr.with_array(noise), ct, body) - 0.5) < 0.02


def test_an_mr_that_is_the_same_everywhere_gives_chance():
    mr, ct, body = leg()
    assert bone_darkness(mr.with_array(np.full_like(mr.array, 7)), ct, body) == 0.5


def test_specks_of_calcium_and_pairs_without_an_mr_say_nothing_of_bone():
    mr, ct, body = leg()
    specks = np.zeros_like(ct.array)
    specks[::3, ::8, ::8] = 900.0
    assert bone_darkness(mr, ct.with_array(specks), body) is None
    assert bone_darkness(ct.with_array(ct.array, Modality.CBCT), ct, body) is None
