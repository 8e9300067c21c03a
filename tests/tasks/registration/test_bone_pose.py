"""A limb whose flesh lies differently on two tables: bone decides the pose, and stays there."""

from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk

from synthct.data.itk import displacement_to_itk
from synthct.data.volume import Displacement, Grid, Modality, Volume
from synthct.tasks.registration.bone import bone_darkness
from synthct.tasks.registration.gate.measures import moved_scan
from synthct.tasks.registration.held_bone import REACH_MM, with_bone_held
from synthct.tasks.registration.job import Job
from synthct.tasks.registration.presets import preset_called
from synthct.tasks.registration.rigid.bone_pose import bone_pose
from synthct.tasks.registration.rigid.competing_poses import find_competing_poses
from synthct.tasks.registration.scan_pair import ScanPair

GRID = Grid((24, 80, 80), (3.0, 2.0, 2.0))
STILL = sitk.Euler3DTransform()


def limb(modality, bone_mm, *, bone=True, tilt=0.0):
    """Fat around muscle around cortex with marrow; the bone's axis is at ``bone_mm`` (y, x).

    The flesh of the CT is flattened by its table, that of the MR is not.
    """
    z, y, x = (np.arange(n) * s for n, s in zip(GRID.shape, GRID.spacing_mm, strict=True))
    z, y, x = np.meshgrid(z - z.mean(), y - y.mean(), x - x.mean(), indexing="ij")
    flesh = np.hypot(y / 70, x / 60) if modality is Modality.MR else np.hypot(y / 60, x / 70)
    tube = np.hypot(y - bone_mm[0] - tilt * z, x - bone_mm[1])
    air, fat, muscle, cortex, marrow = (
        (0, 900, 400, 15, 800) if modality is Modality.MR else (-1000, -100, 50, 1200, -60)
    )
    array = np.select(
        [flesh > 1, (tube < 8) & bone, (tube < 15) & bone, flesh > 0.8],
        [air, marrow, cortex, fat],
        muscle,
    )
    noise = np.random.default_rng(0).normal(0, 10, GRID.shape)
    scan = Volume((array + noise).astype(np.float32), GRID, modality)
    return scan, Volume((flesh <= 1).astype(np.uint8), GRID, Modality.MASK)


def pair(bone_mm=(0.0, 0.0), **options):
    """The MR's bone is in the middle, the CT's elsewhere, in the same outline."""
    mr, mr_body = limb(Modality.MR, (0.0, 0.0))
    ct, ct_body = limb(Modality.CT, bone_mm, **options)
    return ScanPair(mr, ct, mr_body, ct_body)


def bone_error_mm(found, bone_mm, tilt=0.0):
    """Distance between where the pose takes the MR's bone axis and the bone axis of the CT [mm]."""
    errors = []
    for z in (-20.0, 0.0, 20.0):
        middle = (np.array(GRID.shape) - 1) / 2 * GRID.spacing_mm
        point = (middle + np.array([z, 0, 0]))[::-1].tolist()
        there = np.array(found.TransformPoint(point))[::-1] - middle
        errors.append(np.hypot(there[1] - bone_mm[0] - tilt * there[0], there[2] - bone_mm[1]))
    return max(errors)


@pytest.mark.parametrize(("bone_mm", "tilt"), [((9.0, -6.0), 0.0), ((0.0, 10.0), 0.1)])
def test_bone_that_moved_within_unmoved_soft_tissue_is_aligned(bone_mm, tilt):
    found = bone_pose(pair(bone_mm, tilt=tilt), [STILL], seed=1)
    assert bone_error_mm(STILL, bone_mm, tilt) > 9
    assert bone_error_mm(found, bone_mm, tilt) < 1.5


def test_an_aligned_pair_is_moved_by_less_than_a_voxel():
    found = bone_pose(pair(), [STILL], seed=1)
    assert found is None or bone_error_mm(found, (0.0, 0.0)) < 1.0


def test_an_mr_that_shows_no_bone_does_not_draw_the_ct_to_the_dark_air_beside_the_limb():
    mr, body = limb(Modality.MR, (0.0, 0.0), bone=False)
    ct, there = limb(Modality.CT, (40.0, 0.0))
    assert bone_pose(ScanPair(mr, ct, body, there), [STILL], seed=1) is None


def test_without_bone_or_for_other_modalities_there_is_no_pose():
    assert bone_pose(pair(bone=False), [STILL], seed=1) is None
    turned = pair((9.0, 0.0))
    swapped = replace(turned, fixed=turned.fixed.with_array(turned.fixed.array, Modality.CBCT))
    assert bone_pose(swapped, [STILL], seed=1) is None


def test_the_same_seed_gives_the_same_pose():
    poses = [bone_pose(pair((6.0, 3.0)), [STILL], seed=7).GetParameters() for _ in range(2)]
    assert poses[0] == poses[1]


def pushed(by_mm):
    """x -> x + u(x): the whole limb pushed along y."""
    u = np.zeros((3, *GRID.shape))
    u[1] = by_mm
    field = sitk.DisplacementFieldTransform(displacement_to_itk(Displacement(u, GRID)))
    return sitk.CompositeTransform([STILL, field])


def test_a_deformation_that_drags_bone_out_of_its_dark_place_moves_the_flesh_alone():
    job = Job.of(pair(), GRID, preset_called("mr_AB_demo"), seed=1, threads=1)
    held = with_bone_held(job, STILL, pushed(8.0))
    middle = (79.0, 79.0, 34.5)
    assert np.hypot(*np.subtract(held.TransformPoint((79.0, 90.0, 34.5)), (79, 90, 34.5))[:2]) < 0.1
    far = (79.0, 79.0 + 15 + 3 * REACH_MM, 34.5)
    np.testing.assert_allclose(held.TransformPoint(far)[1] - far[1], 8.0, atol=0.2)
    assert held.TransformPoint(middle) == pytest.approx(middle, abs=2.0)
    body = np.asarray(job.compared.fixed_mask.array) > 0
    free, kept = (
        bone_darkness(job.pair.fixed, moved_scan(job.pair, GRID, each), body)
        for each in (pushed(8.0), held)
    )
    assert kept > 0.95 > free


def test_a_deformation_that_leaves_bone_dark_is_kept_to_the_bit():
    job = Job.of(pair(), GRID, preset_called("mr_AB_demo"), seed=1, threads=1)
    good = pushed(0.4)
    assert with_bone_held(job, STILL, good) is good


def test_a_pose_that_fits_flesh_better_does_not_doubt_one_that_fits_bone():
    apart = pair((14.0, -8.0))
    by_bone = sitk.Euler3DTransform()
    by_bone.SetTranslation((-8.0, 14.0, 0.0))
    search = {"starts": 5, "near_mm": 5.0, "seed": 3}
    found = find_competing_poses(apart, by_bone, **search)
    assert found.gain < 0.05
    blind = replace(apart, fixed=limb(Modality.MR, (0.0, 0.0), bone=False)[0])
    assert find_competing_poses(blind, by_bone, **search).gain > 0.1
