from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from synthct.data.volume import Grid, Modality, Volume
from synthct.tasks.ingestion.guards.slice_jump import SliceJump
from synthct.tasks.ingestion.guards.slice_order import SliceOrder
from tests.fixtures.clean_scans import clean_patient, permuted

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


@pytest.mark.parametrize("order", [1, -1])
def test_a_body_that_fades_into_the_last_slices_is_no_rescale(order):
    """The fade goes on in the slices at the end that are not checked themselves."""
    fade = np.minimum(np.exp(0.9 * np.arange(SHAPE[0]) - 4.2), 1)
    array = scan(0.0, 0, SHAPE[0]) * fade[:, None, None]
    assert codes(array[::order]) == []


@pytest.mark.parametrize("noise", [5.0, 20.0])
def test_a_rescale_that_changes_in_the_middle_is_found_though_the_scan_is_noisy(noise):
    array = scan(noise, 0, SHAPE[0])
    array[15:] *= 2.5
    assert codes(array) == ["slice-jump"]


@pytest.fixture(scope="module")
def heads():
    """The MR of a digital head with its neck, in the three orders of its axes."""
    _, patient = clean_patient(0)
    mr = patient.sources["mr"].scan
    return {order: permuted(mr, order) for order in ("axial", "coronal", "sagittal")}


@pytest.mark.parametrize("order", ["axial", "coronal", "sagittal"])
def test_a_whole_head_is_no_rescale_however_its_slices_are_stored(heads, order):
    assert SliceJump()(heads[order], None)[1] == []


@pytest.mark.parametrize("order", ["axial", "coronal", "sagittal"])
@pytest.mark.parametrize("factor", [0.25, 0.6, 1.7, 3.0])
@pytest.mark.parametrize("slices", [slice(20, None), slice(20, 24), slice(20, 21)])
def test_a_factor_on_some_slices_of_a_whole_head_is_found(heads, order, factor, slices):
    scan = heads[order]
    array = scan.array.astype(np.float32)
    array[slices] *= factor
    (found,) = SliceJump()(scan.with_array(array), None)[1]
    assert found.code == "slice-jump"
    assert f"slice 21 of {len(array)}" in found.sentence


def test_crosstalk_between_slices_is_no_rescale(heads):
    array = heads["axial"].array.astype(np.float32)
    array[::2] *= 0.8
    assert SliceJump()(heads["axial"].with_array(array), None)[1] == []


def test_a_coil_that_fades_along_the_slices_is_no_rescale(heads):
    array = heads["axial"].array.astype(np.float32)
    array *= 0.75 ** np.arange(len(array))[:, None, None]
    assert SliceJump()(heads["axial"].with_array(array), None)[1] == []


def test_a_head_whose_halves_are_alike_has_no_misplaced_middle_slice(heads):
    """Across the plane between them the second next slice is more alike than the next."""
    half = heads["sagittal"].array[: len(heads["sagittal"].array) // 2 + 1]
    array = np.concatenate([half, half[-2::-1]])
    grid = heads["sagittal"].grid
    both = Grid(array.shape, grid.spacing_mm, grid.origin_mm, grid.direction)
    assert SliceOrder()(Volume(array, both, Modality.MR), None)[1] == []
