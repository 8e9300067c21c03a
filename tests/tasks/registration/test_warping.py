import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates

from synthct.tasks.fields.warping import displaced_index, inside, look_up, round_trip

SPACING = (3.0, 1.0, 0.5)


@pytest.fixture
def image():
    rng = torch.Generator().manual_seed(0)
    return torch.randn((1, 2, 4, 5, 6), generator=rng, dtype=torch.float64)


@pytest.fixture
def u():
    rng = torch.Generator().manual_seed(1)
    return torch.randn((1, 3, 4, 5, 6), generator=rng, dtype=torch.float64)


def test_it_agrees_with_scipy(image, u):
    step = np.array(SPACING)[:, None, None, None]
    index = np.indices((4, 5, 6)) + u[0].numpy() / step
    found = look_up(image, displaced_index(u, SPACING))
    for channel in range(2):
        expected = map_coordinates(image[0, channel].numpy(), index, order=1, mode="nearest")
        np.testing.assert_allclose(found[0, channel], expected, atol=1e-12)


def test_one_voxel_is_one_spacing_along_each_axis(image):
    for axis in range(3):
        u = torch.zeros((1, 3, 4, 5, 6), dtype=torch.float64)
        u[:, axis] = SPACING[axis]
        found = look_up(image, displaced_index(u, SPACING))
        ahead = image.roll(-1, dims=axis + 2)
        kept = range(image.shape[axis + 2] - 1)
        for k in kept:
            torch.testing.assert_close(found.select(axis + 2, k), ahead.select(axis + 2, k))


def test_inside_counts_the_border_and_nothing_beyond():
    index = torch.tensor([[0.0, 3.0], [4.0, 4.01], [5.0, 0.0]]).view(1, 3, 2)
    assert inside(index, (4, 5, 6)).tolist() == [[True, False]]


def test_there_and_back_by_hand():
    there = torch.zeros((1, 3, 4, 5, 6), dtype=torch.float64)
    there[:, 1] = 2.0
    back = torch.zeros_like(there)
    back[:, 1] = -1.5
    left, known = round_trip(there, back, SPACING)
    assert left[0, :, 0, 0, 0].tolist() == pytest.approx([0, 0.5, 0])
    assert known[0, 0, :, 0].tolist() == [True, True, True, False, False]
