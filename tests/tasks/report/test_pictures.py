"""Pictures: meaning of a code, position of an outline, choice of slices."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image

from synthct.data.store.volumes import write_displacement
from synthct.data.volume import Displacement, Grid, Modality, Volume
from synthct.tasks.figures.pictures import (
    WINDOWS,
    checkerboard,
    codes_hu,
    colour_tables,
    hu_codes,
    outline_path,
    shrink,
    signed_codes,
    stretch_codes,
    uri,
    window_table,
)
from synthct.tasks.report.overlays import jacobian_slice, middle, upright
from synthct.tasks.report.strips import Scene, choose_slices, source_limits, worst_first


def decoded(text: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(text.partition(",")[2]))))


def test_codes_have_their_hand_values():
    hu = np.array([-2000, -1024, -200, 50, 300, 1500, 3071, 9999])
    assert hu_codes(hu).tolist() == [0, 0, 56, 126, 196, 240, 255, 255]


def test_a_code_keeps_soft_tissue_within_two_hu():
    hu = np.linspace(-200, 300, 1001)
    assert np.abs(codes_hu(hu_codes(hu)) - hu).max() < 1.8


@pytest.mark.parametrize("name", WINDOWS)
def test_a_window_is_black_below_and_white_above_its_limits(name):
    _, low, high = WINDOWS[name]
    table = window_table(low, high)
    grey = table[hu_codes(np.array([low - 60, (low + high) / 2, high + 60]))]
    air = max(0, (-1024 - low) / (high - low))  # the scanner's lowest value may lie in the window
    assert grey == pytest.approx([air, 0.5, 1], abs=0.02)
    assert (np.diff(table) >= 0).all()


def test_error_colours_are_blue_below_white_at_and_red_above_zero():
    assert signed_codes(np.array([-500.0, -200, 0, 200, 500]), 200).tolist() == [
        0,
        0,
        128,
        255,
        255,
    ]
    red, green, blue = colour_tables()
    middle_of = len(red) // 2
    assert blue[0] > red[0]
    assert red[-1] > blue[-1]
    assert min(red[middle_of], green[middle_of], blue[middle_of]) > 0.95


def test_mr_greys_span_their_limits():
    assert stretch_codes(np.array([-5.0, 0, 50, 100, 400]), 0, 100).tolist() == [
        0,
        0,
        128,
        255,
        255,
    ]


def test_the_stored_picture_shows_what_the_scan_holds():
    y, x = np.mgrid[0:64, 0:64]
    hu = np.where((y - 32) ** 2 + (x - 32) ** 2 < 500, 40.0, -1000.0)
    hu[28:36, 28:36] = 900
    back = codes_hu(decoded(uri(hu_codes(hu), 80))[..., 0])
    flat = np.s_[14:24, 30:34]
    assert np.abs(back[flat] - 40).max() < 12
    assert np.abs(back[30:34, 30:34] - 900).max() < 120


def test_a_picture_is_transparent_outside_the_mask_and_has_no_metadata():
    mask = np.zeros((16, 16), bool)
    mask[4:12, 4:12] = True
    text = uri(np.full((16, 16), 128, np.uint8), 80, mask)
    assert ((decoded(text)[..., 3] > 0) == mask).all()
    image = Image.open(io.BytesIO(base64.b64decode(text.partition(",")[2])))
    assert not {"exif", "xmp", "icc_profile"} & set(image.info)


def test_shrinking_averages_and_never_enlarges():
    values = np.array([[0, 2, 4, 6], [2, 4, 6, 8]], float)
    assert shrink(values, 2).tolist() == [[2, 6]]
    assert shrink(values, 99).tolist() == values.tolist()


def test_a_checkerboard_takes_the_first_picture_in_its_first_square():
    board = checkerboard(np.zeros((12, 12), np.uint8), np.ones((12, 12), np.uint8), squares=6)
    assert board[:2, :2].max() == 0
    assert board[:2, 2:4].min() == 1
    assert board[2:4, 2:4].max() == 0


def test_an_outline_lies_where_the_edge_lies_in_millimetres():
    image = np.zeros((20, 10))
    image[5:15, 2:8] = 100  # rows 4 mm high, columns 2 mm wide
    path = outline_path(image, 50, (20.0, 80.0))
    points = [tuple(map(float, part.split())) for part in path.removeprefix("M").split("L")]
    xs, ys = zip(*points, strict=True)
    assert (min(xs), max(xs)) == (4, 16)
    assert (min(ys), max(ys)) == (20, 60)


def test_specks_are_not_outlined():
    image = np.zeros((20, 20))
    image[10, 10] = 100
    assert outline_path(image, 50, (20.0, 20.0)) == ""


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("at", [0, 2, 4])
def test_the_jacobian_of_a_stretch_is_its_volume_whatever_the_spacing(tmp_path, axis, at):
    grid = Grid((5, 6, 7), (3.0, 1.0, 2.0), (-7.0, 1.0, 4.0))
    points = grid.points(np.moveaxis(np.indices(grid.shape), 0, -1))
    vectors = np.moveaxis(points * (0.1, 0.2, -0.05), -1, 0).astype(np.float32)
    write_displacement(tmp_path / "u.zarr", Displacement(vectors, grid))
    cut = jacobian_slice(tmp_path / "u.zarr", axis, at)
    assert cut.shape == tuple(np.delete(grid.shape, axis))
    assert cut == pytest.approx(1.1 * 1.2 * 0.95, abs=1e-5)


def test_the_head_is_at_the_top_of_a_coronal_cut():
    array = np.zeros((4, 3, 3))
    array[3] = 1  # superior
    assert upright(array[:, 1], 1)[0].min() == 1
    assert upright(array[3], 0) is not None


def test_the_middle_halves_the_mask_and_not_the_array():
    mask = np.zeros((10, 4, 4), bool)
    mask[6:9] = True
    assert middle(mask, 0) == 7
    assert middle(np.zeros((10, 4, 4), bool), 0) == 5


def scene(error_hu, area):
    """Slices with given errors and scored areas (voxels of a 10 x 10 slice)."""
    shape = (len(error_hu), 10, 10)
    grid = Grid(shape, (3.0, 1.0, 1.0))
    mask = np.zeros(shape, bool)
    sct = np.zeros(shape, np.int16)
    for z, (error, size) in enumerate(zip(error_hu, area, strict=True)):
        mask[z].flat[:size] = True
        sct[z] = error
    ct = Volume(np.zeros(shape, np.int16), grid, Modality.CT)
    return Scene(ct.with_array(np.arange(mask.size).reshape(shape)), ct, ct.with_array(sct), mask)


def test_the_worst_slice_is_among_the_few_shown():
    numbers, mae = choose_slices(scene([5, 5, 5, 90, 5, 5, 5, 5], [100] * 8), 3)
    assert 3 in numbers
    assert len(numbers) == 3
    assert mae.tolist() == [5, 5, 5, 90, 5, 5, 5, 5]


def test_a_few_voxels_at_the_rim_are_not_the_worst_slice():
    numbers, _ = choose_slices(scene([900, 5, 40, 5, 900], [3, 80, 100, 80, 3]), 3)
    assert numbers == [1, 2, 3]


def test_an_empty_mask_still_shows_a_slice():
    assert choose_slices(scene([5, 5, 5], [0, 0, 0]), 3)[0] == [1]


def test_errors_outside_the_mask_are_not_drawn():
    here = scene([50, 50], [10, 0])
    assert np.count_nonzero(here.error(0)) == 10
    assert not here.error(1).any()


def test_grey_limits_of_an_mr_ignore_what_lies_outside_the_body():
    values = np.full((2, 10, 10), 5000.0)
    mask = np.zeros(values.shape, bool)
    mask[0] = True
    values[0] = np.linspace(0, 99, 100).reshape(10, 10)
    source = Volume(values, Grid(values.shape, (1.0, 1.0, 1.0)), Modality.MR)
    low, high = source_limits(source, mask)
    assert low == pytest.approx(0.99, abs=0.01)
    assert high == pytest.approx(98.5, abs=0.1)


def test_cases_of_equal_error_come_by_name():
    assert worst_first([("b", 5.0), ("a", 5.0), ("c", 9.0)]) == ["c", "a", "b"]
