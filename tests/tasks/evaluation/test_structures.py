"""A missing structure is penalised; distances are in mm for any voxel size."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.metrics import compute_hausdorff_distance, compute_surface_dice
from scipy.ndimage import binary_erosion, distance_transform_edt, gaussian_filter

from synthct.tasks.evaluation.params import EvaluationParams
from synthct.tasks.evaluation.structures import overlap
from synthct.tasks.evaluation.structures.overlap import (
    diagonal_mm,
    dice,
    hd95_mm,
    surface_dice,
    surface_distances_mm,
)
from synthct.tasks.evaluation.structures.scores import by_labels, by_threshold, compare_structures

SPACING_MM = (3.0, 1.0, 0.5)


def box(shape, *sides):
    mask = np.zeros(shape, bool)
    mask[tuple(slice(*side) for side in sides)] = True
    return mask


def test_dice_by_hand():
    a, b = box((1, 1, 8), (0, 1), (0, 1), (0, 4)), box((1, 1, 8), (0, 1), (0, 1), (3, 5))
    assert dice(a, b) == 2 * 1 / (4 + 2)
    assert dice(a, ~a) == 0
    assert dice(a & ~a, a & ~a) is None


@pytest.mark.parametrize(("axis", "expected"), [(0, 6.0), (1, 2.0), (2, 1.0)])
def test_a_shift_by_two_voxels_is_that_many_mm_along_each_axis(axis, expected):
    plate = [(5, 35)] * 3
    plate[axis] = (10, 11)  # thin, so that 95 % of its surface sees the shift
    a = box((40, 40, 40), *plate)
    distances = surface_distances_mm(a, np.roll(a, 2, axis=axis), SPACING_MM)
    assert hd95_mm(distances) == pytest.approx(expected)
    assert surface_dice(distances, expected) == 1.0
    assert surface_dice(distances, expected - 0.1) == 0.0


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), spacing=st.tuples(*[st.floats(0.4, 4)] * 3))
def test_distances_agree_with_monai(seed, spacing):
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(size=(2, 5, 4, 6)) < 0.4
    coarse[:, 2, 2, 2] = True
    a, b = np.pad(coarse.repeat(3, 1).repeat(3, 2).repeat(3, 3), [(0, 0), (2, 2), (2, 2), (2, 2)])
    distances = surface_distances_mm(a, b, spacing)
    x, y = (torch.from_numpy(one[None, None]) for one in (a, b))
    theirs = compute_hausdorff_distance(
        y, x, include_background=True, percentile=95, spacing=spacing
    )
    assert hd95_mm(distances) == pytest.approx(float(theirs), abs=1e-4)
    near = compute_surface_dice(
        y, x, class_thresholds=[1.9837], include_background=True, spacing=spacing
    )
    assert surface_dice(distances, 1.9837) == pytest.approx(float(near), abs=1e-6)


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (3.27, 0.977, 0.977), (0.7, 1.3, 2.1)])
def test_the_nearest_voxel_of_the_tree_is_farther_than_that_of_a_distance_transform(spacing):
    rng = np.random.default_rng(7)
    a, b = (gaussian_filter(rng.normal(size=(24, 30, 28)), 2.5) > 0.01 for _ in range(2))
    found = surface_distances_mm(a, b, spacing)
    box = overlap._box(a | b)
    a, b = (mask[box] & ~binary_erosion(mask[box], border_value=0) for mask in (a, b))
    for distances, here, there in ((found[0], b, a), (found[1], a, b)):
        wanted = distance_transform_edt(~there, sampling=spacing)[here]
        np.testing.assert_allclose(distances, wanted, rtol=1e-15, atol=0)


def test_a_distance_of_exactly_the_tolerance_counts_whatever_the_last_bit_says():
    a = box((3, 3, 20), (0, 3), (0, 3), (2, 3))
    distances = surface_distances_mm(a, np.roll(a, 5, axis=2), (1.0, 1.0, 0.4000000000000001))
    assert surface_dice(distances, 2.0) == 1.0


def test_a_structure_at_the_image_border_has_a_surface_there():
    a = np.ones((3, 3, 3), bool)
    found, truth = surface_distances_mm(a, a, SPACING_MM)
    assert found.size == truth.size == 26  # only the middle voxel is inside


def test_a_lost_structure_scores_zero_and_its_distance_is_the_diagonal_or_dropped():
    reference = {"rib": box((4, 4, 4), (1, 3), (1, 3), (1, 3))}
    lost = {"rib": np.zeros((4, 4, 4), bool)}
    diagonal = float(np.linalg.norm([12.0, 4.0, 2.0]))
    assert diagonal_mm((4, 4, 4), SPACING_MM) == diagonal
    penalised = compare_structures(reference, lost, spacing_mm=SPACING_MM)
    assert penalised.values == {"dice_rib": 0, "hd95_mm_rib": diagonal, "surface_dice_rib": 0}
    published = compare_structures(reference, {}, spacing_mm=SPACING_MM, policy="as_published")
    assert published.values == {"dice_rib": 0, "hd95_mm_rib": None, "surface_dice_rib": 0}
    assert published.warnings == ("rib: missing in the prediction",)


def test_a_structure_that_the_reference_lacks_is_reported_not_scored():
    invented = compare_structures(
        {"rib": np.zeros((2, 2, 2), bool)}, {"rib": np.ones((2, 2, 2), bool)}, spacing_mm=SPACING_MM
    )
    assert invented.values == {}
    assert invented.warnings == ("rib: 8 voxels, none in the reference",)


def test_default_thresholds_give_a_voxel_to_one_structure_and_each_tissue_to_its_own():
    rules = EvaluationParams().model_dump(mode="json")["structures"]
    hu = np.arange(-1024, 3072).reshape(1, 1, -1)
    found = by_threshold(hu, np.ones(hu.shape, bool), rules)
    assert sum(mask.astype(int) for mask in found.values()).max() == 1
    tissue = {"air": -995, "lung": -790, "fat": -100, "soft": 45, "bone": 1150}
    for name, value in tissue.items():
        assert found[name][0, 0, value + 1024], name


def test_labels_are_grouped_by_structure_inside_the_mask():
    names = {
        "1": {"name": "enamel", "structure": "tooth"},
        "2": {"name": "marrow", "structure": "bone"},
        "7": {"name": "liver", "structure": "organ"},
    }
    labels = np.array([[[0, 1, 2, 7, 2]]])
    mask = np.array([[[True, True, True, True, False]]])
    rules = EvaluationParams().model_dump(mode="json")["structures"]
    found = by_labels(labels, mask, rules, names)
    assert found["bone"].ravel().tolist() == [False, True, True, False, False]
    assert found["soft"].ravel().tolist() == [False, False, False, True, False]
