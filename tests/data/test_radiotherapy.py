"""RTSTRUCT contours become masks and RTDOSE a volume in gray, both where they were planned."""

from __future__ import annotations

import matplotlib.path
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk

from synthct.data.errors import DataError, UsageError
from synthct.data.readers import describe, find, read_mask, read_scan, read_structures
from synthct.data.readers.rasterise import draw, inside_polygon
from synthct.data.volume import Grid, Modality
from tests.fixtures.outcomes import STRUCTURES, shows_read, shows_refusal
from tests.fixtures.radiotherapy import dose_file, square, structure_set

GRID = Grid((5, 20, 20), (2.0, 1.0, 1.0))


def test_a_square_of_nine_millimetres_is_eighty_one_voxels(tmp_path):
    path = structure_set(tmp_path / "RS.dcm", {"box": [square(2.5, 11.5, 4.0)]})
    mask = read_mask(path, "box", GRID)
    assert mask.modality is Modality.MASK
    assert mask.array.sum() == 81
    assert mask.array[2, 3:12, 3:12].all()


def test_an_inner_contour_is_a_hole(tmp_path):
    contours = [square(2.5, 11.5, 4.0), square(5.5, 8.5, 4.0)]
    mask = read_mask(structure_set(tmp_path / "RS.dcm", {"ring": contours}), "ring", GRID)
    assert mask.array.sum() == 81 - 9
    assert mask.array[2, 7, 7] == 0


def test_contours_on_every_second_slice_leave_no_empty_slice(tmp_path):
    contours = [square(2.5, 5.5, z) for z in (0.0, 4.0, 8.0)]
    mask = read_mask(structure_set(tmp_path / "RS.dcm", {"a": contours}), "a", GRID)
    assert mask.array.sum(axis=(1, 2)).tolist() == [9] * 5


def test_two_contours_between_slices_do_not_cancel_each_other(tmp_path):
    contours = [square(2.5, 5.5, z) for z in (3.4, 4.2, 5.0)]
    mask = read_mask(structure_set(tmp_path / "RS.dcm", {"a": contours}), "a", GRID)
    assert mask.array.sum(axis=(1, 2)).tolist()[2] == 9


@pytest.mark.parametrize("seed", range(8))
def test_polygons_agree_with_matplotlib(seed):
    rng = np.random.default_rng(seed)
    corners = rng.uniform(-3, 43, (rng.integers(3, 12), 2))
    ours = inside_polygon(corners, 40, 40)
    if seed % 2:  # matplotlib fills by winding, which is even-odd for simple polygons only
        turns = np.sort(rng.uniform(0, 2 * np.pi, 9))
        corners = 20 + np.c_[np.sin(turns), np.cos(turns)] * rng.uniform(5, 25, (9, 1))
        ours = inside_polygon(corners, 40, 40)
        centres = np.stack(np.mgrid[:40, :40], -1).reshape(-1, 2)
        theirs = matplotlib.path.Path(corners).contains_points(centres).reshape(40, 40)
        assert np.array_equal(ours, theirs)
    else:
        assert np.array_equal(ours, inside_polygon(corners[::-1], 40, 40))


def test_structures_that_are_not_there_are_named(tmp_path):
    path = structure_set(tmp_path / "RS.dcm", {"a": [square(1, 4, 4.0)], "points": []})
    outlines = read_structures(path)
    assert (outlines.names, outlines.skipped) == (("a",), ("points",))
    with pytest.raises(UsageError, match="give one of a"):
        read_mask(path, "b", GRID)


def test_contours_of_another_scan_are_refused(tmp_path):
    path = structure_set(tmp_path / "RS.dcm", {"a": [square(1, 4, 400.0)]})
    with pytest.raises(DataError, match="lies within the scan"):
        read_mask(path, "a", GRID)


def test_contours_that_lean_out_of_the_slices_are_refused(tmp_path):
    leaning = [(1.5, 1.5, 2.0), (9.5, 1.5, 4.0), (9.5, 9.5, 4.0)]
    path = structure_set(tmp_path / "RS.dcm", {"a": [leaning]})
    with pytest.raises(DataError, match="spans"):
        read_mask(path, "a", GRID)


def test_the_tumour_of_a_real_structure_set_is_the_published_mask(shared_data):
    folder = shared_data / "sts_mr_ct" / "STS_001"
    grid = describe(folder / "CT_dicom").grid
    outlines = read_structures(folder / "CT_rtstruct")
    published = read_scan(folder / "CT_GTV.nii.gz", Modality.MASK)
    name = next(name for name in outlines.names if "gtv" in name.lower())
    mask = read_mask(folder / "CT_rtstruct", name, grid)
    assert mask.grid.is_close(published.grid, 1e-2)
    both = (mask.array > 0) & (published.array > 0)
    dice = 2 * both.sum() / ((mask.array > 0).sum() + (published.array > 0).sum())
    assert dice > 0.99


STORED = np.random.default_rng(4).integers(0, 7_000_000, (4, 5, 6))


def test_a_dose_is_in_gray_where_simpleitk_puts_it(tmp_path):
    path = dose_file(tmp_path / "RD.dcm", STORED)
    dose = read_scan(path)
    assert dose.modality is Modality.DOSE
    assert dose.unit == "Gy"
    assert np.allclose(dose.array, STORED * 1e-5, rtol=1e-6)
    image = sitk.ReadImage(str(path))
    assert dose.grid.origin_mm == tuple(reversed(image.GetOrigin()))
    assert dose.grid.spacing_mm == (2.5, 1.5, 2.0)
    assert describe(path).grid == dose.grid
    assert find(tmp_path)[0].kind == "dose"


def test_offsets_may_be_the_patients_z(tmp_path):
    offsets = [30.0, 32.5, 35.0, 37.5]
    path = dose_file(tmp_path / "RD.dcm", STORED, GridFrameOffsetVector=offsets)
    assert read_scan(path).grid.origin_mm[0] == 30.0


@shows_read(STRUCTURES, "a dose stored from head to feet", "at the place that its offsets say")
def test_a_dose_stored_downwards_lies_where_its_offsets_say(tmp_path):
    dose = read_scan(dose_file(tmp_path / "RD.dcm", STORED, step=-2.5))
    assert np.allclose(dose.grid.points(np.array([3, 0, 0])), (22.5, 20.0, -10.0))


@shows_read(STRUCTURES, "plane offsets of a dose rounded to 0.1 mm", "made equidistant")
@pytest.mark.parametrize("step", [2.97, -2.97, 1.25, 0.625])
def test_a_dose_whose_offsets_were_rounded_is_not_refused(tmp_path, step):
    planes = np.ones((30, 5, 6), int)
    offsets = [round(step * number, 1) for number in range(30)]
    grid = read_scan(dose_file(tmp_path / "RD.dcm", planes, GridFrameOffsetVector=offsets)).grid
    there = grid.points(np.array([[0, 0, 0], [29, 0, 0]]))[:, 0] - 30.0
    assert np.allclose(sorted(there), sorted([0, 29 * step]), atol=0.05)


@shows_refusal(STRUCTURES, "a dose that is not in Gy, or whose planes are unclear")
@pytest.mark.parametrize(
    ("keyword", "value"),
    [("DoseUnits", "RELATIVE"), ("DoseGridScaling", "0"), ("GridFrameOffsetVector", [0.0, 2.5]),
     ("GridFrameOffsetVector", [0.0, 2.5, 5.0, 9.0]), ("NumberOfFrames", 5),
     ("GridFrameOffsetVector", [0.0, 2.5, 5.4, 7.9])],
)  # fmt: skip
def test_a_dose_that_does_not_say_what_it_is_is_refused(tmp_path, keyword, value):
    with pytest.raises(DataError):
        read_scan(dose_file(tmp_path / "RD.dcm", STORED, **{keyword: value}))


def test_a_dose_is_not_taken_for_a_ct(tmp_path):
    with pytest.raises(DataError, match="DOSE where CT"):
        read_scan(dose_file(tmp_path / "RD.dcm", STORED), Modality.CT)


def typed(path, kinds):
    """The contours of a set, in order, get these geometric types."""
    dataset = pydicom.dcmread(path)
    contours = [c for roi in dataset.ROIContourSequence for c in roi.ContourSequence]
    for contour, kind in zip(contours, kinds, strict=True):
        contour.ContourGeometricType = kind
    dataset.save_as(path)
    return path


@shows_read(STRUCTURES, "`CLOSEDPLANAR_XOR` contours", "drawn as PS3.3 C.8.8.6.3 defines")
def test_contours_combined_by_exclusive_or_are_not_left_out(tmp_path):
    nested = [square(0.5, 15.5, 4.0), square(3.5, 12.5, 4.0), square(6.5, 9.5, 4.0)]
    path = typed(structure_set(tmp_path / "RS.dcm", {"a": nested}), ["CLOSEDPLANAR_XOR"] * 3)
    assert read_mask(path, "a", GRID).array.sum() == 15**2 - 9**2 + 3**2


def keyhole(low, high, inner_low, inner_high, z):
    """A square, a channel of no width, the inner square and the way back: one contour."""
    inner = [(inner_low, inner_low), (inner_low, inner_high), (inner_high, inner_high),
             (inner_high, inner_low), (inner_low, inner_low)]  # fmt: skip
    return [*square(low, high, z), (low, low, z), *((x, y, z) for x, y in inner)]


SEPARATE = {
    "a hole": ([square(0.5, 15.5, 4.0), square(3.5, 12.5, 4.0)], 225 - 81, False),
    "a part in a hole": (
        [square(6.5, 9.5, 4.0), square(0.5, 15.5, 4.0), square(3.5, 12.5, 4.0)],
        225 - 81 + 9, False,
    ),
    "two that cross": ([square(0.5, 10.5, 4.0), square(5.5, 15.5, 4.0)], 100 + 100 - 25, True),
    "one twice": ([square(0.5, 10.5, 4.0)] * 2, 100, False),
    "a hole twice": ([square(0.5, 15.5, 4.0)] + [square(3.5, 12.5, 4.0)] * 2, 225 - 81, False),
    "two apart": ([square(0.5, 5.5, 4.0), square(8.5, 12.5, 4.0)], 25 + 16, False),
    "two that touch": ([square(0.5, 5.5, 4.0), square(5.5, 9.5, 4.0)], 25 + 16, False),
    "a hole in two that cross": (
        [square(0.5, 10.5, 4.0), square(5.5, 15.5, 4.0), square(6.5, 9.5, 4.0)], 175 - 9, True,
    ),
    "one below a voxel": ([square(0.5, 10.5, 4.0), square(4.2, 4.8, 4.0)], 100, False),
    "a keyhole": ([keyhole(0.5, 15.5, 3.5, 12.5, 4.0)], 225 - 81, False),
    "a part in a keyhole": (
        [keyhole(0.5, 15.5, 3.5, 12.5, 4.0), square(6.5, 9.5, 4.0)], 225 - 81 + 9, False,
    ),
}  # fmt: skip


@shows_read(
    STRUCTURES, "`CLOSED_PLANAR` contours that cross, or one stored twice", "joined and reported"
)
@pytest.mark.parametrize("case", SEPARATE)
def test_contours_of_one_slice_do_not_cut_each_other_out(tmp_path, case):
    contours, voxels, cross = SEPARATE[case]
    outlines = read_structures(structure_set(tmp_path / "RS.dcm", {"a": contours}))
    drawing = draw(outlines, "a", GRID)
    assert int(drawing.mask.array.sum()) == voxels
    assert drawing.crossed == int(cross)


def test_exclusive_contours_that_cross_exclude_their_overlap(tmp_path):
    contours = [square(0.5, 10.5, 4.0), square(5.5, 15.5, 4.0)]
    path = typed(structure_set(tmp_path / "RS.dcm", {"a": contours}), ["CLOSEDPLANAR_XOR"] * 2)
    assert read_mask(path, "a", GRID).array.sum() == 100 + 100 - 2 * 25


@shows_read(STRUCTURES, "points and open contours", "left out and reported")
@pytest.mark.parametrize(
    ("kinds", "drawn", "told"),
    [
        (["CLOSED_PLANAR", "POINT"], True, "some-contours"),
        (["OPEN_PLANAR", "OPEN_NONPLANAR"], False, "contour-type"),
        (["INTERPOLATED_PLANAR"] * 2, False, "contour-type"),
        (["closed_planar", "ClosedPlanar_XOR"], True, None),
    ],
)
def test_contours_that_cannot_be_drawn_are_reported(tmp_path, kinds, drawn, told):
    contours = [square(2.5, 5.5, z) for z in (2.0, 4.0)]
    outlines = read_structures(typed(structure_set(tmp_path / "RS.dcm", {"a": contours}), kinds))
    assert (outlines.names == ("a",)) == drawn
    assert outlines.left_out.get("a") == told


@shows_read(STRUCTURES, "contours between slices", "as many slices as there are contours")
@pytest.mark.parametrize(("offset", "rows"), [(0.0, 4), (0.7, 4), (1.0, 4), (1.3, 4), (-1.0, 4)])
def test_contours_between_slices_fill_as_many_slices_as_there_are(tmp_path, offset, rows):
    grid = Grid((12, 20, 20), (2.0, 1.0, 1.0))
    contours = [square(2.5, 5.5, z + offset) for z in (6.0, 8.0, 10.0, 12.0)]
    mask = read_mask(structure_set(tmp_path / "RS.dcm", {"a": contours}), "a", grid)
    assert int(mask.array.any(axis=(1, 2)).sum()) == rows


@pytest.mark.parametrize("noise", [0.0, 0.004])
def test_no_offset_of_the_contours_loses_or_adds_a_slice(tmp_path, noise):
    """Every hundredth of a slice, with the rounding of the coordinates: 4 contours, 4 slices."""
    grid, random = Grid((12, 20, 20), (2.0, 1.0, 1.0)), np.random.default_rng(3)
    offsets = [hundredths / 50 for hundredths in range(-50, 51)]
    boxes = {
        f"a{at}": [square(2.5, 5.5, 6.0 + 2 * k + offset + random.uniform(-noise, noise))
                   for k in range(4)]
        for at, offset in enumerate(offsets)
    }  # fmt: skip
    outlines = read_structures(structure_set(tmp_path / "RS.dcm", boxes))
    for at, offset in enumerate(offsets):
        rows = draw(outlines, f"a{at}", grid).mask.array.any(axis=(1, 2))
        assert np.flatnonzero(rows).size == 4, offset
        middle = np.flatnonzero(rows).mean() * 2.0
        assert abs(middle - 9.0 - offset) <= 1.0 + 0.03, offset


def test_a_gap_between_contours_is_not_filled(tmp_path):
    grid = Grid((12, 20, 20), (2.0, 1.0, 1.0))
    for offset in (0.0, 0.98, 1.02, -0.98):
        contours = [square(2.5, 5.5, z + offset) for z in (4.0, 6.0, 14.0, 16.0)]
        path = structure_set(tmp_path / f"{offset}.dcm", {"a": contours})
        assert int(read_mask(path, "a", grid).array.any(axis=(1, 2)).sum()) == 4, offset


def test_one_contour_midway_between_slices_fills_one(tmp_path):
    mask = read_mask(structure_set(tmp_path / "RS.dcm", {"a": [square(1, 5, 3.0)]}), "a", GRID)
    assert int(mask.array.any(axis=(1, 2)).sum()) == 1


def test_two_structures_of_one_name_do_not_sink_the_set(tmp_path):
    boxes = {"Heart": [square(2.5, 5.5, 4.0)], "b": [square(7.5, 12.5, 4.0)]}
    path = structure_set(tmp_path / "RS.dcm", boxes)
    dataset = pydicom.dcmread(path)
    dataset.StructureSetROISequence[1].ROIName = "Heart"
    dataset.save_as(path)
    assert read_structures(path).names == ("Heart", "Heart (1)")
    assert [read_mask(path, name, GRID).array.sum() for name in ("Heart", "Heart (1)")] == [9, 25]


def test_one_damaged_structure_does_not_sink_the_set(tmp_path):
    boxes = {"good": [square(2.5, 5.5, 4.0)], "bad": [square(7.5, 12.5, 4.0)]}
    path = structure_set(tmp_path / "RS.dcm", boxes)
    dataset = pydicom.dcmread(path)
    dataset.ROIContourSequence[1].ContourSequence[0].NumberOfContourPoints = 99
    dataset.save_as(path)
    outlines = read_structures(path)
    assert outlines.names == ("good",)
    assert outlines.left_out == {"bad": "damaged"}
