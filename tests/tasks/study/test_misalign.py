from __future__ import annotations

import numpy as np
import pytest

from synthct.tasks.study.misalign import smooth_displacement, warped

SPACING = (3.0, 2.0, 1.0)


@pytest.mark.parametrize("mean_mm", [2.0, 5.0, 10.0])
def test_pairs_are_off_by_what_the_params_ask_for(mean_mm):
    inside = np.zeros((12, 30, 40), bool)
    inside[2:-2, 5:-5, 5:-5] = True
    u = smooth_displacement(inside, SPACING, mean_mm, np.random.default_rng(0))
    assert np.sqrt((u**2).sum(axis=0))[inside].mean() == pytest.approx(mean_mm)


def test_the_displacement_does_not_tear_tissue_apart():
    inside = np.ones((12, 40, 60), bool)
    u = smooth_displacement(inside, SPACING, 5.0, np.random.default_rng(1))
    slopes = [np.gradient(u, step, axis=axis + 1) for axis, step in enumerate(SPACING)]
    jacobian = np.eye(3)[:, :, None, None, None] + np.stack(slopes, axis=1)
    assert np.linalg.det(np.moveaxis(jacobian, (0, 1), (-2, -1))).min() > 0


def test_a_constant_displacement_moves_the_image_by_whole_voxels_along_the_right_axis():
    image = np.arange(2 * 3 * 5).reshape(2, 3, 5)
    u = np.zeros((3, 2, 3, 5))
    u[2] = 2.0  # two millimetres, two voxels along x
    np.testing.assert_allclose(warped(image, u, SPACING)[..., :3], image[..., 2:])
