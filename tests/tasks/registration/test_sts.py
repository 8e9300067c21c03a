"""The gate on real scans of one patient: good poses pass, the raw 35 degree start does not.

The CT and MR of ``STS_001`` were delivered aligned. That alignment is wrong by 28 mm: the femur of
the CT lies beside the femur of the MR. The first test holds what shows it, so that nobody tunes
towards it again.
"""

import numpy as np
import pytest
import SimpleITK as sitk

from synthct.data.itk import resample
from synthct.data.readers import read_scan
from synthct.tasks.fields.geometry import working_grid
from synthct.tasks.ingestion.body import body_mask
from synthct.tasks.ingestion.params import BodyParams
from synthct.tasks.registration.gate.gate import judge, objections
from synthct.tasks.registration.gate.measures import measure, move
from synthct.tasks.registration.gate.params import GateParams
from synthct.tasks.registration.methods import METHODS
from synthct.tasks.registration.presets import preset_called
from synthct.tasks.registration.register import register
from synthct.tasks.registration.rigid.competing_poses import find_competing_poses
from synthct.tasks.registration.scan_pair import ScanPair

GATE = GateParams()

RIGID_001 = (0.0957271, -0.0548156, -0.0532493, 7.66248, -21.1187, -15.6164)
"""What stock elastix (mr_AB, seed 0) finds for STS_001: angles [rad], shift [mm], (x, y, z)."""
CENTRE_001 = (84.472476, 9.277213, -786.485905)

FAILED_RAW = (-0.09907, -0.00995, 0.231938, -15.3774, -92.9092, -739.167)
"""Where it ended on the raw MR, 90 mm and 35 degrees from right."""
CENTRE_RAW = (91.561207, -0.228749, -16.38112)

TURNED_RAW = (-0.61081, 0.31769, 0.57156, 14.25646, -1.3957, -794.75168)
"""A wrong pose of the raw MR that a coarser search let pass: 31 mm and 30 degrees off."""
CENTRE_TURNED = (85.6246, -4.3604, -6.3507)

TRUE_RAW = (-0.518878, -0.063507, -0.0136, 21.887272, -9.517557, -792.41964)
"""The raw MR onto the CT: ``RIGID_001`` after the raw MR on the aligned one (correlation 0.95)."""
CENTRE_TRUE = (91.56121, -0.22875, -16.38112)

CORTEX_HU = 400.0


def euler(parameters, centre):
    transform = sitk.Euler3DTransform()
    transform.SetCenter(centre)
    transform.SetParameters(parameters)
    return transform


@pytest.fixture(scope="module")
def folder(shared_data):
    return shared_data / "sts_mr_ct"


def pair_of(mr, ct):
    fixed, moving = read_scan(mr), read_scan(ct)
    bodies = [body_mask(scan, BodyParams(), "other") for scan in (fixed, moving)]
    return ScanPair(fixed, moving, *bodies)


@pytest.fixture(scope="module")
def aligned(folder):
    return pair_of(folder / "STS_001/MR_T1_dicom", folder / "STS_001/CT_dicom")


def verdict(pair, rigid):
    grid = working_grid(pair.fixed_body, (4.0, 4.0, 4.0), 15.0)
    source = resample(pair.fixed, grid, outside=float(pair.fixed.array.min()))
    body = resample(pair.fixed_body, grid, outside=0, nearest=True)
    steps = {
        name: measure(source, body, move(pair, grid, transform))
        for name, transform in (("identity", sitk.Euler3DTransform()), ("rigid", rigid))
    }
    found = find_competing_poses(
        pair, rigid, starts=GATE.competing_starts, near_mm=GATE.competing_near_mm, seed=0
    )
    # The deformable step is not in question here: it repeats the rigid one.
    return judge(steps | {"deformable": steps["rigid"]}, {}, GATE, found)


def darkness_of_cortex(pair, transform):
    """Share of the MR inside the body that is darker than the median MR under the CT's cortex."""
    ct = resample(pair.moving, pair.fixed.grid, transform=transform, outside=-1024)
    body = pair.fixed_body.array > 0
    cortex = pair.fixed.array[(ct.array > CORTEX_HU) & body]
    return float((pair.fixed.array[body] < np.median(cortex)).mean())


def test_the_rigid_step_lays_bone_on_bone_and_the_delivered_alignment_does_not(aligned):
    """Cortical bone is black on T1."""
    delivered = darkness_of_cortex(aligned, sitk.Euler3DTransform())
    ours = darkness_of_cortex(aligned, euler(RIGID_001, CENTRE_001))
    assert ours < 0.10
    assert delivered > 3 * ours


def test_the_right_pose_of_a_real_pair_passes(aligned):
    assert verdict(aligned, euler(RIGID_001, CENTRE_001)).verdict == "pass"


def test_the_delivered_alignment_of_a_real_pair_is_flagged(aligned):
    found = find_competing_poses(
        aligned,
        sitk.Euler3DTransform(),
        starts=GATE.competing_starts,
        near_mm=GATE.competing_near_mm,
        seed=0,
    )
    assert found.gain > GATE.max_competing_gain


def test_the_raw_scan_on_which_a_method_failed_by_35_degrees_is_not_believed(folder):
    pair = pair_of(folder / "STS_001_raw/MR_T1_dicom", folder / "STS_001/CT_dicom")
    found = verdict(pair, euler(FAILED_RAW, CENTRE_RAW))
    assert found.verdict == "fail"
    assert "explains the pair better" in found.reason


@pytest.mark.slow
def test_a_limb_that_was_turned_about_itself_does_not_pass(folder):
    pair = pair_of(folder / "STS_001_raw/MR_T1_dicom", folder / "STS_001/CT_dicom")
    turned = find_competing_poses(
        pair, euler(TURNED_RAW, CENTRE_TURNED), starts=5, near_mm=15.0, seed=0
    )
    right = find_competing_poses(pair, euler(TRUE_RAW, CENTRE_TRUE), starts=5, near_mm=15.0, seed=0)
    assert objections(turned, GATE)[0]
    assert not objections(right, GATE)[0]


@pytest.mark.slow
def test_the_raw_scan_is_laid_on_its_ct_from_the_scanners_frame(folder):
    """35 degrees and 790 mm off; the deformable step is not in question, so it is a short one."""
    pair = pair_of(folder / "STS_001_raw/MR_T1_dicom", folder / "STS_001/CT_dicom")
    grid = working_grid(pair.fixed_body, (4.0, 4.0, 4.0), 15.0)
    method = METHODS.build("mi", {"factors": [2], "iterations": [5]})
    preset = preset_called("mr_AB")
    done = register(pair, grid, preset, GATE, method, seed=0, tell=lambda step: None)
    points = grid.points(np.argwhere(done.body.array > 0)[::97])
    there = np.array([done.transform.TransformPoint(p[::-1].tolist()) for p in points])
    true = euler(TRUE_RAW, CENTRE_TRUE)
    right = np.array([true.TransformPoint(p[::-1].tolist()) for p in points])
    assert done.judgement.verdict != "fail"
    assert np.linalg.norm(there - right, axis=1).mean() < 6.0  # [mm]
    assert darkness_of_cortex(pair, done.transform) < 0.05
