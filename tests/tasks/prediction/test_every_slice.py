"""No part of the body is left at air because the model's grid does not fit the scan's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from synthct.data.orientation import turned
from synthct.data.volume import Grid, Modality, Volume
from synthct.tasks.models.description import ModelDescription, SourceScaling, TargetScaling
from synthct.tasks.models.sliding import predict
from synthct.tasks.prediction.grid import covering_grid
from synthct.tasks.prediction.prepare import Prepared, prepare
from synthct.tasks.prediction.slab_resampling import on_grid

WATER = 500
"""What the network below answers everywhere [HU]."""


def model_of(spacing_mm, margin_mm=8.0):
    return ModelDescription(
        source="mr", fold=0, network={"name": "toy"}, slices=3, patch_size=(16, 16), divisor=8,
        spacing_mm=spacing_mm, margin_mm=margin_mm, source_scaling=SourceScaling(),
        target_scaling=TargetScaling(low_hu=-1000, high_hu=2000),
    )  # fmt: skip


def head(grid: Grid) -> tuple[Volume, Volume]:
    """A textured column through all slices of the grid's box, and its mask."""
    index = np.stack(np.meshgrid(*[np.linspace(-1, 1, n) for n in grid.shape], indexing="ij"))
    inside = (index[1] / 0.8) ** 2 + (index[2] / 0.7) ** 2 < 1
    values = np.where(inside, 300 + 80 * np.sin(5 * index[1] + 4 * index[2] + 3 * index[0]), 2.0)
    noise = np.random.default_rng(3).normal(0, 1, grid.shape)
    scan = Volume((values + noise).astype(np.float32), grid, Modality.MR)
    return scan, Volume(inside.astype(np.uint8), grid, Modality.MASK)


def predicted(prepared: Prepared, model: ModelDescription) -> np.ndarray:
    made = predict(
        lambda x: np.zeros_like(x[:, :1]), prepared.source, prepared.mask, model,
        wanted=prepared.wanted,
    )  # fmt: skip
    return on_grid(made.hu, prepared.wanted, prepared.body, model.outside_hu, np.int16)


def left_at_air(scan, mask, model) -> np.ndarray:
    """Body voxels without a predicted value, and those of the result that say so."""
    prepared = prepare(scan, mask, model)
    hu = predicted(prepared, model)
    body = np.asarray(prepared.body.array) > 0
    assert np.all(hu[~body] == model.outside_hu)
    assert prepared.unreached == np.count_nonzero(body & (hu == model.outside_hu))
    return body & (hu != WATER)


@pytest.mark.parametrize(("slices", "step_mm"), [(69, 2.0), (66, 1.0), (41, 1.5)])
def test_the_first_and_last_slice_of_a_scan_are_predicted(slices, step_mm):
    """With a model of 4 mm these lost the last, the first and the last, and the last slice."""
    scan, mask = head(Grid((slices, 40, 36), (step_mm, 4.0, 4.0)))
    assert not left_at_air(scan, mask, model_of((4.0, 4.0, 4.0))).any()
    prepared = prepare(scan, None, model_of((4.0, 4.0, 4.0)))
    assert np.asarray(prepared.body.array).any(axis=(1, 2)).all()


@pytest.mark.parametrize("axis", [1, 2])
@pytest.mark.parametrize("angle", [0.1, 0.3])
def test_a_body_and_lung_that_the_face_of_an_oblique_scan_cuts_are_predicted(axis, angle):
    """On the box around the scan the body ends in a wedge there, which the outline lost, and the
    lung is open to the empty corner.
    """
    c, s = np.cos(angle), np.sin(angle)
    turn = np.eye(3)
    turn[np.ix_(*[[k for k in range(3) if k != axis]] * 2)] = [[c, -s], [s, c]]
    grid = Grid((30, 60, 60), (4.0, 4.0, 4.0), (5.0, -110.0, 20.0), tuple(map(tuple, turn)))
    scan, body = head(grid)
    index = np.stack(np.meshgrid(*[np.linspace(-1, 1, n) for n in grid.shape], indexing="ij"))
    lung = (index[1] / 0.4) ** 2 + (index[2] / 0.35) ** 2 < 1
    scan = scan.with_array(np.where(lung, 3.0, scan.array).astype(np.float32))
    model = model_of((4.0, 4.0, 4.0))
    prepared = prepare(scan, None, model)
    hu = predicted(prepared, model)
    assert np.all(hu[lung] == WATER)
    inside = ndimage.binary_erosion(body.array, np.ones((1, 5, 5)))
    assert np.all(hu[inside] == WATER)
    outside = np.asarray(body.array) == 0
    assert np.mean(hu[outside] == model.outside_hu) > 0.9


SPACING = st.sampled_from([0.7, 0.9765625, 1.0, 1.5, 2.0, 2.7, 3.0, 4.0, 5.5])


@st.composite
def grids(draw):
    """Any size and spacing; turned by up to half a right angle about any axis, axes permuted."""
    spacing = (draw(SPACING), *(draw(st.sampled_from([2.7, 4.0, 5.5])) for _ in range(2)))
    lengths_mm = [draw(st.integers(60, 90)) for _ in range(3)]
    shape = tuple(int(length / step) for length, step in zip(lengths_mm, spacing, strict=True))
    angles = draw(st.sampled_from([(0.0, 0.0, 0.0), (0.2, 0.0, 0.0), (0.1, -0.3, 0.5)]))
    turn = np.eye(3)
    for axis, angle in enumerate(angles):
        c, s = np.cos(angle), np.sin(angle)
        one = np.eye(3)
        one[np.ix_(*[[k for k in range(3) if k != axis]] * 2)] = [[c, -s], [s, c]]
        turn = turn @ one
    grid = Grid(shape, spacing, (-31.5, 12.25, 7.0), tuple(map(tuple, turn)))
    order = draw(st.permutations(range(3)))
    signs = draw(st.tuples(*[st.sampled_from([1, -1])] * 3))
    return turned(grid, tuple(order), signs)


@settings(max_examples=25, deadline=None)
@given(
    grids(),
    st.tuples(*[st.sampled_from([1.5, 2.0, 4.0])] * 3),
    st.sampled_from([0.0, 15.0]),
    st.integers(0, 2**32 - 1),
)
def test_every_voxel_of_a_given_body_is_predicted_on_any_grid(grid, spacing, margin, seed):
    """The body also reaches every face of the scan and has parts one voxel thin."""
    scan, mask = head(grid)
    body = mask.array.copy()
    body.ravel()[np.random.default_rng(seed).integers(0, body.size, 20)] = 1
    for corner in ((0, 0, 0), (-1, -1, -1), (0, -1, 0)):
        body[corner] = 1
    lost = left_at_air(scan, mask.with_array(body), model_of(spacing, margin))
    assert not lost.any()


@settings(max_examples=60, deadline=None)
@given(st.tuples(*[st.integers(1, 200)] * 3), st.tuples(*[SPACING] * 3), st.tuples(*[SPACING] * 3))
def test_the_model_grid_holds_every_voxel_of_the_scan_and_none_of_it_lies_outside(
    shape, spacing, wanted
):
    grid = Grid(shape, spacing, (3.1, -20.7, 100.3))
    covering = covering_grid(grid, wanted)
    ends = np.array([[0, 0, 0], np.asarray(shape) - 1], float)
    index = covering.index(grid.points(ends))
    assert np.all(index[0] > -0.5)
    assert np.all(index[1] < np.asarray(covering.shape) - 0.5)
    ends = np.array([[0, 0, 0], np.asarray(covering.shape) - 1], float)
    index = grid.index(covering.points(ends))
    if np.all(np.asarray(covering.shape) > 1):
        assert np.all(index[0] >= -0.5)
        assert np.all(index[1] <= np.asarray(shape) - 0.5)


def test_where_nothing_was_lost_the_grid_stays_that_of_training():
    grid = Grid((64, 93, 80), (4.0, 2.7, 2.7))
    assert covering_grid(grid, (4.0, 4.0, 4.0)) == grid.with_spacing((4.0, 4.0, 4.0))


def test_a_scan_much_finer_than_the_model_says_that_the_result_is_coarser_than_it_looks():
    scan, mask = head(Grid((66, 40, 36), (1.0, 3.0, 3.0)))
    notes = prepare(scan, mask, model_of((4.0, 4.0, 4.0))).notes
    assert any("4.0 times smaller" in note and "4 x 4 x 4 mm" in note for note in notes)
    near, mask = head(Grid((30, 40, 36), (3.0, 3.0, 3.0)))
    assert not any("as small" in note for note in prepare(near, mask, model_of((4, 4, 4))).notes)
