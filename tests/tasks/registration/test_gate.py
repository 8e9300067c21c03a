from dataclasses import replace

import numpy as np
import pytest

from synthct.data.volume import Grid, Modality, Volume
from synthct.tasks.fields.jacobian import DeformationQuality
from synthct.tasks.registration.bone import BoneMotion
from synthct.tasks.registration.gate.gate import Judgement, doubted, judge
from synthct.tasks.registration.gate.measures import StepMeasures, air_share
from synthct.tasks.registration.gate.params import GateParams

STILL = DeformationQuality(0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0)
POOR = StepMeasures(1.05, 0.10, 0.85, 1.0, 0.0, STILL)
BETTER = replace(POOR, information=1.10, edges=0.15, dice=0.92, bone_darkness=0.90)
BEST = replace(BETTER, information=1.15, edges=0.20, dice=0.95, local_p95_mm=8.0)
GATE = GateParams()


def verdict(rigid=BETTER, deformable=BEST, failures=None, identity=POOR):
    steps = {"identity": identity, "rigid": rigid, "deformable": deformable}
    return judge({k: v for k, v in steps.items() if v is not None}, failures or {}, GATE)


def test_steps_that_improve_pass_without_a_reason():
    assert (found := verdict()).verdict == "pass"
    assert (found.step, found.reason) == ("deformable", "")


def folded(percent):
    return replace(BEST, deformation=replace(STILL, folding_percent=percent))


@pytest.mark.parametrize(
    ("deformable", "words"),
    [
        (replace(BEST, edges=0.10), "edge agreement fell"),
        (replace(BEST, edges=0.149, information=1.05), "mutual information fell"),
        (replace(BEST, information=1.101, edges=0.149), "gains no mutual information"),
        (replace(BEST, dice=0.85), "overlap fell"),
        (replace(BEST, covered=0.80), "leaves the field"),
        (replace(BEST, local_p95_mm=200.0), "beyond the rigid step"),
        (folded(5.0), "folds"),
        (replace(BEST, deformation=replace(STILL, sd_log_jacobian=0.9)), "rough"),
        (replace(BEST, bone=BoneMotion(900, 0.3, 4.0)), "bone is strained by 30%"),
        (replace(BEST, bone_darkness=0.55), "probability 0.55, before 0.90"),
    ],
)
def test_a_deformable_step_that_made_it_worse_falls_back_to_rigid_and_says_why(deformable, words):
    found = verdict(deformable=deformable)
    assert (found.step, found.verdict) == ("rigid", "suspect")
    assert words in found.reason


def test_a_pair_that_was_aligned_already_is_not_flagged_for_staying_so():
    still = replace(BETTER, information=1.1001, local_p95_mm=0.8)
    found = verdict(deformable=still)
    assert (found.step, found.verdict) == ("deformable", "pass")


def test_a_pair_whose_bone_is_where_the_mr_is_bright_is_suspect_however_well_the_rest_fits():
    off = [replace(step, bone_darkness=0.5) for step in (POOR, BETTER, BEST)]
    found = verdict(identity=off[0], rigid=off[1], deformable=off[2])
    assert (found.step, found.verdict) == ("deformable", "suspect")
    assert "dense bone lies where the MR is not dark" in found.reason
    without = [replace(step, bone_darkness=None) for step in (POOR, BETTER, BEST)]
    assert verdict(identity=without[0], rigid=without[1], deformable=without[2]).verdict == "pass"


def test_a_step_that_crashed_is_reported_in_the_reason():
    found = verdict(deformable=None, failures={"deformable": "too few samples"})
    assert (found.step, found.verdict) == ("rigid", "suspect")
    assert "too few samples" in found.reason


def test_the_identity_is_selected_only_with_a_failed_verdict():
    found = verdict(rigid=replace(BETTER, edges=0.01), deformable=None)
    assert (found.step, found.verdict) == ("identity", "fail")
    assert "rigid step rejected" in found.reason


def test_a_bad_rigid_step_may_be_mended_by_the_deformable_one_but_stays_suspect():
    found = verdict(rigid=replace(BETTER, edges=0.05))
    assert (found.step, found.verdict) == ("deformable", "suspect")


def test_a_little_folding_is_suspect():
    found = verdict(deformable=folded(0.5))
    assert (found.step, found.verdict) == ("deformable", "suspect")


def test_roughness_is_suspect():
    rough = replace(BEST, deformation=replace(STILL, sd_log_jacobian=0.4))
    assert verdict(deformable=rough).verdict == "suspect"


@pytest.mark.parametrize(("dice", "expected"), [(0.75, "suspect"), (0.4, "fail")])
def test_bodies_that_hardly_overlap_are_not_believed(dice, expected):
    low = replace(POOR, dice=dice)
    assert verdict(replace(BETTER, dice=dice), replace(BEST, dice=dice), identity=low).verdict == (
        expected
    )


def test_bone_that_bends_is_suspect():
    bent = replace(BEST, bone=BoneMotion(900, 0.2, 4.0))
    found = verdict(deformable=bent)
    assert (found.step, found.verdict) == ("deformable", "suspect")
    assert "bone" in found.reason


@pytest.mark.parametrize(("before", "after"), [("pass", "suspect"), ("fail", "fail")])
def test_a_late_doubt_never_makes_a_verdict_better(before, after):
    found = doubted(Judgement("rigid", before, "first"), "second")
    assert (found.verdict, found.reason) == (after, "first; second")


def test_a_mask_that_lies_in_the_air_of_the_moved_ct_is_suspect():
    """A real limb passed with 16 % of its mask in air; the check of evaluation allows 8 %."""
    in_air = replace(BEST, air=0.16)
    found = verdict(deformable=in_air)
    assert (found.step, found.verdict) == ("deformable", "suspect")
    assert "16% of the mask lies in the air" in found.reason
    assert verdict(deformable=replace(BEST, air=0.05)).verdict == "pass"
    near = verdict(deformable=replace(BEST, air=0.02, outside=0.12))
    assert near.verdict == "suspect"
    assert "12% of the mask lies in the air" in near.reason
    assert verdict(deformable=replace(BEST, air=0.02, outside=0.09)).verdict == "pass"


def test_air_is_what_lies_further_than_8_mm_outside_the_moved_body():
    """Ten voxels of 4 mm in a row: a mask of all of them, a body of the first five."""
    grid = Grid((1, 1, 10), (4.0, 4.0, 4.0))
    body = np.zeros(grid.shape, np.uint8)
    body[..., :5] = 1
    whole = np.ones(grid.shape, bool)
    # Voxels 6 and 7 are 4 and 8 mm away and allowed; 8 to 10 are 12 to 20 mm away.
    assert air_share(whole, Volume(body, grid, Modality.MASK)) == pytest.approx(0.3)
    assert air_share(whole, Volume(body, grid, Modality.MASK), 0.0) == pytest.approx(0.5)
    assert air_share(~whole, Volume(body, grid, Modality.MASK)) == 0.0
