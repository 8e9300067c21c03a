"""DICOM as scanners and archives write it: legal oddities are read right, damage is still found."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest

from synthct.data.readers import find, read_scan, read_scan_and_facts
from tests.data import points
from tests.data.wild_dicom import (
    VALUES,
    WHERE,
    Way,
    edit,
    refused,
    stored,
    write_enhanced,
    write_series,
)
from tests.fixtures.outcomes import DICOM, shows_read, shows_refusal, shows_repair


def read(path, **options):
    return read_scan_and_facts(path, **options)


@shows_read(
    DICOM,
    "enhanced multi-frame CT or MR with a keyword both at top level and in each frame",
    "each frame keeps its own value",
)
@pytest.mark.parametrize("modality", ["CT", "MR"])
@pytest.mark.parametrize("top", [("position",), ("rescale",), ("position", "rescale")])
def test_a_keyword_at_top_level_too_does_not_give_all_frames_the_last_value(
    tmp_path, modality, top
):
    way = Way(modality, "u2", intercept=-1024.0)
    path = write_enhanced(tmp_path / "e.dcm", WHERE, VALUES, way, per_frame=True, top=top)
    scan = read_scan(path)
    assert scan.modality == modality
    assert np.array_equal(scan.array, VALUES)
    assert scan.grid.is_close(WHERE)


@shows_refusal(DICOM, "a classic CT or MR file with several frames", "multi-frame")
@pytest.mark.parametrize("frames", [2, 3, 6])
def test_classic_files_of_several_frames_do_not_lose_all_but_the_first(tmp_path, frames):
    write_series(tmp_path / "s", WHERE, VALUES)
    for number, file in enumerate(sorted((tmp_path / "s").iterdir())):
        pixels = VALUES[number].tobytes() * frames
        edit(file, NumberOfFrames=frames, PixelData=pixels)
    fault = refused(tmp_path / "s")
    assert fault.code == "multi-frame"
    assert str(frames) in fault.problem


OUTSIDE = np.zeros(VALUES.shape[1:], bool)
OUTSIDE[:2, :2] = OUTSIDE[-2:, -2:] = OUTSIDE[0] = True


@shows_repair(
    DICOM,
    "`PixelPaddingValue`, signed or unsigned",
    "what reaches the edge becomes -1024 HU (MR: 0); the finding `pixel-padding` says so",
)
@pytest.mark.parametrize(
    ("kind", "bits", "intercept", "raw", "tag"),
    [
        ("i2", 16, 0, -2000, ("SS", -2000)),
        ("i2", 16, -1024, -2000, ("US", 63536)),
        ("i2", 16, 0, -32768, ("SS", -32768)),
        ("u2", 16, -1024, 63536, ("US", 63536)),
        ("u2", 16, -1024, 65535, ("US", 65535)),
        ("u2", 12, -1024, 63536, ("US", 63536)),
        ("u2", 12, -1024, 4095, ("US", 4095)),
        ("u2", 12, -1024, 1024, ("US", 1024)),
        ("u2", 16, -3024, 0, ("US", 0)),
    ],
)
def test_padding_is_air_and_no_bone_however_its_value_is_spelled(
    tmp_path, kind, bits, intercept, raw, tag
):
    way = Way(kind=kind, stored_bits=bits, intercept=float(intercept))
    pixels = stored(VALUES, way)
    pixels[:, OUTSIDE] = np.array(raw & 0xFFFF, "u2").view(kind)
    way.after = ((0x00280120, *tag),)
    write_series(tmp_path / "s", WHERE, VALUES, way, pixels=pixels)
    scan, facts = read(tmp_path / "s")
    assert (scan.array[:, OUTSIDE] == -1024).all()
    inner = ~OUTSIDE
    same = scan.array[:, inner] == VALUES[:, inner]
    # Only a value that is the padding's own and touches the edge may have become air.
    assert (VALUES[:, inner][~same] == raw + intercept).all()
    assert [remark.code for remark in facts.remarks] == ["pixel-padding"]


@shows_repair(DICOM, "`PixelPaddingValue` in some slices only", "the value holds for all")
def test_padding_that_some_slices_do_not_state_is_no_metal(tmp_path):
    way = Way(kind="u2", intercept=-1024.0, after=((0x00280120, "US", 63536),))
    pixels = stored(VALUES, way)
    pixels[:, OUTSIDE] = 63536
    write_series(tmp_path / "s", WHERE, VALUES, way, pixels=pixels)
    for file in sorted((tmp_path / "s").iterdir())[::2]:
        dataset = pydicom.dcmread(file)
        del dataset.PixelPaddingValue
        dataset.save_as(file)
    scan = read_scan(tmp_path / "s")
    assert (scan.array[:, OUTSIDE] == -1024).all()
    assert np.array_equal(scan.array[:, ~OUTSIDE], VALUES[:, ~OUTSIDE])


@shows_repair(DICOM, "`PixelPaddingRangeLimit`", "every value of the range becomes -1024 HU")
def test_a_padding_range_covers_all_its_values(tmp_path):
    pixels = VALUES.copy()
    pixels[:, 0, :6], pixels[:, 0, 6:] = -2000, -1500
    way = Way(after=((0x00280120, "SS", -2000), (0x00280121, "SS", -1400)))
    write_series(tmp_path / "s", WHERE, VALUES, way, pixels=pixels)
    scan = read_scan(tmp_path / "s")
    assert (scan.array[:, 0] == -1024).all()
    assert np.array_equal(scan.array[:, 1:], VALUES[:, 1:])


@shows_read(
    DICOM,
    "tissue that has the value of the padding",
    "unchanged: padding reaches the edge of the image",
)
def test_tissue_of_the_value_of_padding_is_not_cut_out_of_the_body(tmp_path):
    pixels = np.full(VALUES.shape, 30, np.int16)
    pixels[:, 4:6, 4:6] = 40
    way = Way(after=((0x00280120, "SS", 40),))
    write_series(tmp_path / "s", WHERE, VALUES, way, pixels=pixels)
    assert np.array_equal(read_scan(tmp_path / "s").array, pixels)


@shows_read(
    DICOM, "a pixel element that is longer than the image", "the bytes after the pixels are ignored"
)
@pytest.mark.parametrize("excess", [b"\0\0", b"\1\2\3\4", b"\0" * 24, b"\0" * 4096, b"\xff" * 512])
def test_pixels_with_padding_behind_them_are_read(tmp_path, excess):
    write_series(tmp_path / "s", WHERE, VALUES, Way(excess=excess))
    assert np.array_equal(read_scan(tmp_path / "s").array, VALUES)


@shows_refusal(DICOM, "`Rows` or `Columns` too small for the pixels", "damaged")
def test_rows_that_a_smaller_image_would_hide_are_no_padding(tmp_path):
    write_series(tmp_path / "s", WHERE, VALUES)
    for file in (tmp_path / "s").iterdir():
        edit(file, Rows=WHERE.shape[1] - 3)
    assert refused(tmp_path / "s").code == "damaged"


def test_a_narrower_image_with_dark_last_rows_is_not_read_sheared(tmp_path):
    where = points.grid((3, 40, 48), (2.0, 2.0, 3.0), np.eye(3), (5.0, -8.0, 12.0))
    dark = points.image(where)
    dark[:, -16:] = 0
    write_series(tmp_path / "s", where, dark)
    for file in (tmp_path / "s").iterdir():
        edit(file, Columns=32)
    assert refused(tmp_path / "s").code == "damaged"


AFTER = {
    "a private group": ((0x7FE10010, "LO", "MAKER"), (0x7FE11010, "OB", b"\1\2\3\4" * 9)),
    "two private groups": ((0x7FE10010, "LO", "A"), (0x7FE30010, "LO", "B"),
                           (0x7FE31001, "DS", "1.5")),
    "trailing padding": ((0xFFFCFFFC, "OB", b"\0" * 128),),
    "a private sequence": ((0x7FE10010, "LO", "A"), (0x7FE11020, "SQ", [pydicom.Dataset()])),
}  # fmt: skip


@shows_read(DICOM, "private groups, trailing padding or zeros after the pixels", "ignored")
@pytest.mark.parametrize("implicit", [False, True])
@pytest.mark.parametrize("after", AFTER.values(), ids=AFTER)
@pytest.mark.parametrize("tail", [b"", b"\0" * 512])
def test_legal_elements_and_zeros_after_the_pixels_are_passed_over(tmp_path, after, implicit, tail):
    way = Way(implicit=implicit, after=after, tail=tail)
    write_series(tmp_path / "s", WHERE, VALUES, way)
    assert np.array_equal(read_scan(tmp_path / "s").array, VALUES)


@shows_refusal(DICOM, "other bytes after the pixels", "damaged")
@pytest.mark.parametrize(
    "tail",
    [b"\1\2", b"\x08\x00\x08\x00CS\x02\x00AB", b"\xe1\x7f\x10\x00LO\xff\x00A", b"\0" * 200 + b"\1"],
    ids=["bytes", "an earlier tag", "a cut element", "zeros and a byte"],
)
def test_what_no_writer_puts_after_pixels_is_still_found(tmp_path, tail):
    write_series(tmp_path / "s", WHERE, VALUES, Way(tail=tail))
    assert refused(tmp_path / "s").code == "damaged"


def test_bytes_added_to_dark_pixels_are_not_taken_for_a_tail_of_zeros(tmp_path):
    dark = VALUES.copy()
    dark[:, -3:] = 0
    write_series(tmp_path / "s", WHERE, dark)
    file = sorted((tmp_path / "s").iterdir())[2]
    data = file.read_bytes()
    at = data.rindex(b"\xe0\x7f\x10\x00") + 40
    file.write_bytes(data[:at] + b"\7\7" + data[at:])
    assert refused(tmp_path / "s").code == "damaged"


@shows_read(DICOM, "one number in several spellings (`4`, `4.000000`)", "equal")
@pytest.mark.parametrize("spelled", ["{:.6f}", "{:.6e}", "{:+.3f}"])
def test_a_number_in_another_spelling_is_the_same_number(tmp_path, spelled):
    write_series(tmp_path / "s", WHERE, VALUES, Way(spelled=spelled))
    scan, facts = read(tmp_path / "s")
    assert np.array_equal(scan.array, VALUES)
    assert facts.remarks == ()


def test_one_slice_with_its_rescale_spelled_otherwise_was_not_hurt(tmp_path):
    write_series(tmp_path / "s", WHERE, VALUES)
    edit(tmp_path / "s" / "003.dcm", RescaleSlope="1.000000", RescaleIntercept="-0.0")
    assert np.array_equal(read_scan(tmp_path / "s").array, VALUES)


@shows_refusal(DICOM, "slices of different patients in one series", "mixed-patientid")
def test_patient_numbers_are_no_numbers(tmp_path):
    write_series(tmp_path / "s", WHERE, VALUES, Way(elements={"PatientID": "7"}))
    edit(tmp_path / "s" / "003.dcm", PatientID="007")
    assert refused(tmp_path / "s").code == "mixed-patientid"


@shows_repair(
    DICOM,
    "positions rounded to 0.1 mm",
    "made equidistant; the finding `positions-rounded` says so",
)
@pytest.mark.parametrize("step", [0.625, 0.7, 1.25, 2.46])
@pytest.mark.parametrize("tilt", [0.0, 12.0])
def test_positions_in_tenths_of_a_millimetre_are_not_uneven(tmp_path, step, tilt):
    turn = points.rotation(0, tilt)
    where = points.grid((20, 8, 9), (2.0, 2.0, step), turn, (3.04, -7.7, 11.16))
    write_series(tmp_path / "s", where, points.image(where), Way(decimals=1))
    scan, facts = read(tmp_path / "s")
    # Each position is off by 0.05 mm a component, their line by less.
    assert points.worst(scan) < 0.5 + 0.1 * points.STEEPEST
    assert abs(scan.grid.spacing_mm[0] - step) < 0.005
    assert {remark.code for remark in facts.remarks} <= {"positions-rounded", "direction-rounded"}


@shows_refusal(DICOM, "a missing slice", "missing-slices")
def test_a_slice_that_is_missing_is_not_rounded_away(tmp_path):
    where = points.grid((20, 8, 9), (2.0, 2.0, 0.7), np.eye(3), (3.0, -7.7, 0.05))
    write_series(tmp_path / "s", where, points.image(where), Way(decimals=1))
    (tmp_path / "s" / "007.dcm").unlink()
    assert refused(tmp_path / "s").code == "missing-slices"


@shows_refusal(DICOM, "one slice out of place", "slice-out-of-line", "uneven-spacing")
def test_one_slice_moved_by_a_tenth_is_not_rounded_away(tmp_path):
    where = points.grid((20, 8, 9), (2.0, 2.0, 3.0), np.eye(3), (0.0, 0.0, 0.5))
    write_series(tmp_path / "s", where, points.image(where), Way(decimals=1))
    x, y, z = pydicom.dcmread(tmp_path / "s" / "007.dcm").ImagePositionPatient
    edit(tmp_path / "s" / "007.dcm", ImagePositionPatient=[x, y, f"{float(z) + 0.1:.1f}"])
    assert refused(tmp_path / "s").code in ("slice-out-of-line", "uneven-spacing")


SCOUTS = {
    "another plane": {"ImageOrientationPatient": ["1", "0", "0", "0", "0", "-1"]},
    "a sagittal plane": {"ImageOrientationPatient": ["0", "1", "0", "0", "0", "-1"]},
    "other pixels": {"PixelSpacing": ["0.6", "0.5"]},
    "another size": {"Rows": 5, "PixelData": VALUES[0, :5].tobytes()},
    "no plane": {"ImageOrientationPatient": None, "ImagePositionPatient": None},
    "no rescale": {"ImageOrientationPatient": ["1", "0", "0", "0", "0", "-1"],
                   "RescaleSlope": None, "RescaleIntercept": None},
}  # fmt: skip
WORDS = {
    "LOCALIZER": ["ORIGINAL", "PRIMARY", "LOCALIZER"],
    "localizer, small and padded": ["ORIGINAL", "PRIMARY", "Localizer ", "CT_SOM5 TOP"],
    "SCREEN SAVE": ["DERIVED", "SECONDARY", "SCREEN SAVE"],
}


def add_scouts(folder, names, **changes):
    """Copies of the first slice with other elements, in the same series."""
    first = pydicom.dcmread(sorted(folder.iterdir())[0])
    for number, name in enumerate(names):
        for keyword, value in changes.items():
            setattr(first, keyword, value)
        first.SOPInstanceUID, first.InstanceNumber = pydicom.uid.generate_uid(), 900 + number
        first.save_as(folder / name)


@shows_read(
    DICOM,
    "a localizer or capture with the series UID of its CT, in another plane or size",
    "left out, where `ImageType` says so; the finding `views-left-out` says so",
)
@pytest.mark.parametrize("changes", SCOUTS.values(), ids=SCOUTS)
@pytest.mark.parametrize("words", WORDS.values(), ids=WORDS)
@pytest.mark.parametrize("names", [("000-scout.dcm",), ("zz1.dcm", "zz2.dcm", "000.dcm.dcm")])
def test_a_localizer_in_the_series_of_its_ct_does_not_sink_it(tmp_path, changes, words, names):
    common = write_series(tmp_path / "s", WHERE, VALUES)
    add_scouts(tmp_path / "s", names, ImageType=words, **changes)
    for series in ("", common.SeriesInstanceUID):
        scan, facts = read(tmp_path / "s", series=series)
        assert np.array_equal(scan.array, VALUES)
        assert scan.grid.is_close(WHERE)
        (remark,) = facts.remarks
        assert remark.code == "views-left-out"
        assert remark.sentence.startswith(f"{len(names)} image")
    rows = {row.kind: row for row in find(tmp_path)}
    assert set(rows) == {"scan", "capture" if "SCREEN SAVE" in words else "localizer"}
    assert rows["scan"].error is None
    assert len(rows["scan"].files) == WHERE.shape[0]


@shows_refusal(
    DICOM, "an image of another plane that `ImageType` does not call a localizer",
    "mixed-orientation",
)  # fmt: skip
def test_an_odd_image_that_is_not_called_a_localizer_is_not_dropped(tmp_path):
    write_series(tmp_path / "s", WHERE, VALUES)
    add_scouts(tmp_path / "s", ["zz.dcm"], **SCOUTS["another plane"])
    assert refused(tmp_path / "s").code == "mixed-orientation"


def test_a_slice_that_is_called_a_localizer_but_fits_is_not_lost(tmp_path):
    write_series(tmp_path / "s", WHERE, VALUES)
    edit(tmp_path / "s" / "005.dcm", ImageType=WORDS["LOCALIZER"])
    scan, facts = read(tmp_path / "s")
    assert np.array_equal(scan.array, VALUES)
    assert facts.remarks == ()


SPELLED = {
    "PatientPosition": ("HFS", "hfs", " HFS", "Hfs "),
    "Modality": ("CT", "ct", "Ct "),
    "PhotometricInterpretation": ("MONOCHROME2", "monochrome2", " MONOCHROME2"),
    "RescaleType": ("HU", "hu", "US"),
    "ImageType": (["ORIGINAL", "PRIMARY", "AXIAL"], ["original", "primary", "axial "], ["Derived"]),
    "PatientID": ("WILD", " WILD", "WILD  "),
    "FrameOfReferenceUID": None,
    "SeriesInstanceUID": None,
}


@shows_read(DICOM, "codes in small letters or with spaces (`hfs` beside `HFS`)", "equal")
@pytest.mark.parametrize("keyword", SPELLED)
def test_codes_in_small_letters_or_padded_are_the_same_codes(tmp_path, keyword):
    common = write_series(tmp_path / "s", WHERE, VALUES)
    uid = common.get(keyword)
    for number, file in enumerate(sorted((tmp_path / "s").iterdir())):
        ways = SPELLED[keyword] or (uid, f"{uid} ", f"{uid}")
        edit(file, **{keyword: ways[number % len(ways)]})
    scan = read_scan(tmp_path / "s")
    assert (scan.modality, scan.grid.shape) == ("CT", WHERE.shape)
    assert np.array_equal(scan.array, VALUES)
    (row,) = find(tmp_path / "s")
    assert (row.kind, row.error) == ("scan", None)


def test_positions_that_do_differ_are_still_mixed(tmp_path):
    write_series(tmp_path / "s", WHERE, VALUES)
    edit(tmp_path / "s" / "003.dcm", PatientPosition="HFP")
    assert refused(tmp_path / "s").code == "mixed-patientposition"


def test_padding_of_an_mr_in_small_letters_is_dark_too(tmp_path):
    way = Way("MR", after=((0x00280120, "SS", -2000),))
    pixels = stored(VALUES, way)
    pixels[:, OUTSIDE] = -2000
    write_series(tmp_path / "s", WHERE, VALUES, way, pixels=pixels)
    for file in (tmp_path / "s").iterdir():
        edit(file, Modality="mr")
    assert (read_scan(tmp_path / "s").array[:, OUTSIDE] == 0).all()
