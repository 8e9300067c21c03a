"""The gate on real scans of one patient: good poses pass, the raw 35 degree start does not.

The CT and MR of ``STS_001`` were delivered aligned. That alignment is wrong by 28 mm: the femur of
the CT lies beside the femur of the MR. The first test holds what shows it, so that nobody tunes
towards it again.
"""

import numpy as np
import pytest
import SimpleITK as sitk

from data.itk import resample
from data.readers import read_scan
from tasks.ingestion.body import body_mask
from tasks.ingestion.params import BodyParams
from tasks.registration.gate import GateParams, judge
from tasks.registration.geometry import working_grid
from tasks.registration.measures import measure, move
from tasks.registration.rivals import find_rivals
from tasks.registration.scan_pair import ScanPair

GATE = GateParams()

RIGID_001 = (0.0957271, -0.0548156, -0.0532493, 7.66248, -21.1187, -15.6164)
"""What stock elastix (mr_AB, seed 0) finds for STS_001: angles [rad], shift [mm], (x, y, z)."""
CENTRE_001 = (84.472476, 9.277213, -786.485905)

FAILED_RAW = (-0.09907, -0.00995, 0.231938, -15.3774, -92.9092, -739.167)
"""Where it ended on the raw MR, 90 mm and 35 degrees from right."""
CENTRE_RAW = (91.561207, -0.228749, -16.38112)

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
    found = find_rivals(pair, rigid, starts=GATE.rival_starts, near_mm=GATE.rival_near_mm, seed=0)
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
    found = find_rivals(
        aligned,
        sitk.Euler3DTransform(),
        starts=GATE.rival_starts,
        near_mm=GATE.rival_near_mm,
        seed=0,
    )
    assert found.gain > GATE.max_rival_gain


def test_the_raw_scan_on_which_a_method_failed_by_35_degrees_is_not_believed(folder):
    pair = pair_of(folder / "STS_001_raw/MR_T1_dicom", folder / "STS_001/CT_dicom")
    found = verdict(pair, euler(FAILED_RAW, CENTRE_RAW))
    assert found.verdict == "fail"
    assert "explains the pair better" in found.reason
