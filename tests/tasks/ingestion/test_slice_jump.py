from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from synthct.data.volume import Grid, Modality, Volume
from synthct.tasks.ingestion.guards.slice_jump import SliceJump

SHAPE = (30, 40, 40)


def scan(noise=5.0, first=8, last=22):
    """A body that begins and ends abruptly, as in a scan stored as sagittal slices."""
    rng = np.random.default_rng(0)
    texture = gaussian_filter(rng.normal(0, 1, SHAPE), 3)
    image = np.zeros(SHAPE)
    image[first:last, 8:32, 8:32] = (300 + 60 * texture / texture.std())[first:last, 8:32, 8:32]
    return np.abs(image + rng.normal(0, noise, SHAPE))


def codes(array):
    volume = Volume(array.astype(np.float32), Grid(SHAPE, (3.0, 2.0, 2.0)), Modality.MR)
    return [finding.code for finding in SliceJump()(volume, None)[1]]


def test_a_body_that_begins_between_two_slices_is_not_called_a_rescale():
    assert codes(scan()) == []


@pytest.mark.parametrize("noise", [5.0, 20.0])
def test_a_rescale_that_changes_in_the_middle_is_found_though_the_scan_is_noisy(noise):
    array = scan(noise, 0, SHAPE[0])
    array[15:] *= 2.5
    assert codes(array) == ["slice-jump"]
