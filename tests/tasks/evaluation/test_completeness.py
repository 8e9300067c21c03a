"""A small structure that vanished costs as much as a large one; a thin tube is followed."""

from __future__ import annotations

import numpy as np
import pytest

from synthct.tasks.evaluation.structures.completeness import centreline_dice, class_of, completeness
from synthct.tasks.evaluation.structures.scores import volumes

SPACING_MM = (2.0, 1.0, 1.0)


def box(*sides, shape=(30, 60, 60)):
    mask = np.zeros(shape, bool)
    mask[tuple(slice(*side) for side in sides)] = True
    return mask


@pytest.mark.parametrize(
    ("name", "ml", "kind"),
    [("rib_left_4", 5, "bone"), ("vertebrae_L3", 40, "bone"), ("Femur_Head_L", 60, "bone"),
     ("aorta", 200, "tubular"), ("SpinalCord", 20, "small organ"), ("spinal_cord", 20, "tubular"),
     ("small_bowel", 600, "tubular"), ("liver", 1500, "large organ"),
     ("Parotid_L", 25, "small organ"),
     ("trunk_fat", 9000, "tubular"), ("gallbladder", 30, "small organ")],
)  # fmt: skip
def test_a_name_says_its_class_and_else_the_volume_does(name, ml, kind):
    assert class_of(name, ml) == kind


def test_a_lost_gland_costs_as_much_as_a_lost_liver():
    known = {
        "liver": box((2, 28), (2, 40), (2, 40)) | box((2, 28), (40, 58), (2, 58)),
        "parotid": box((10, 14), (45, 50), (45, 50)) & ~box((0, 1), (0, 1), (0, 1)),
    }
    known["liver"][10:14, 45:50, 45:50] = False
    whole = completeness(known, known, spacing_mm=SPACING_MM)
    assert whole.values == {
        "completeness_large_organ": 1.0, "completeness_small_organ": 1.0, "completeness": 1.0,
    }  # fmt: skip
    for lost in known:
        left = {name: mask for name, mask in known.items() if name != lost}
        found = completeness(known, left, spacing_mm=SPACING_MM)
        assert found.values["completeness"] == 0.5
        assert lost in found.warnings[0]


def test_a_broken_vessel_loses_centre_line_though_hardly_any_volume():
    tube = box((1, 29), (28, 33), (28, 33))
    broken = tube.copy()
    broken[12:18] = False
    thinner = box((1, 29), (29, 32), (29, 32))
    assert centreline_dice(tube, tube) == 1
    assert centreline_dice(tube, thinner) > 0.95  # Dice would be 0.53
    assert centreline_dice(tube, broken) < 0.93
    assert centreline_dice(tube, np.zeros_like(tube)) == 0


def test_what_the_reference_lacks_is_not_counted():
    nothing = {"liver": np.zeros((4, 4, 4), bool)}
    assert completeness(nothing, nothing, spacing_mm=SPACING_MM).values == {}


def test_volumes_are_in_ml_and_a_lost_structure_has_lost_all_of_it():
    known = {"gland": box((0, 10), (0, 10), (0, 10)), "node": box((0, 1), (0, 5), (0, 2))}
    found = {"gland": box((0, 10), (0, 10), (0, 12))}
    result = volumes(known, found, spacing_mm=SPACING_MM).values
    assert result == {
        "volume_ml_gland": 2.0, "volume_change_percent_gland": pytest.approx(20.0),
        "volume_ml_node": 0.02, "volume_change_percent_node": -100.0,
    }  # fmt: skip
