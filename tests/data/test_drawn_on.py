"""A structure in one frame of reference never becomes a mask on a scan of another."""

from __future__ import annotations

import pydicom
import pytest
from pydicom.dataset import Dataset

from synthct.data.readers import read_structures
from synthct.data.readers.contours import DrawnOn
from tests.fixtures.outcomes import STRUCTURES, shows_read
from tests.fixtures.radiotherapy import square, structure_set

CT, MR = ("1.2.1", "1.2.10"), ("1.2.2", "1.2.20")
"""Frame of reference and series."""


def one(**values):
    item = Dataset()
    for keyword, value in values.items():
        setattr(item, keyword, value)
    return item


def image(uid):
    return one(ReferencedSOPInstanceUID=uid)


def two_frames(path, frames, images=(), listed=(CT, MR)):
    """Structures ``a``, ``b``, ... in the given frames; ``images``: the image of their contours."""
    structure_set(path, {name: [square(1, 4, 4.0)] for name in "abcd"[: len(frames)]})
    dataset = pydicom.dcmread(path)
    dataset.ReferencedFrameOfReferenceSequence = [
        one(FrameOfReferenceUID=frame, RTReferencedStudySequence=[
            one(RTReferencedSeriesSequence=[
                one(SeriesInstanceUID=series, ContourImageSequence=[image(f"{series}.5")])
            ])
        ])
        for frame, series in listed
    ]  # fmt: skip
    for roi, frame in zip(dataset.StructureSetROISequence, frames, strict=True):
        if frame:
            roi.ReferencedFrameOfReferenceUID = frame
    for roi, uid in zip(dataset.ROIContourSequence, images, strict=False):
        if uid:
            roi.ContourSequence[0].ContourImageSequence = [image(uid)]
    dataset.save_as(path)
    return read_structures(path)


@shows_read(
    STRUCTURES,
    "one set drawn in two frames of reference",
    "each structure goes to the scan of its own frame",
)
def test_each_structure_goes_to_the_scan_of_its_own_frame(tmp_path):
    outlines = two_frames(tmp_path / "RS.dcm", [CT[0], MR[0], CT[0]])
    assert [outlines.drawn_on[name].frame_uid for name in "abc"] == [CT[0], MR[0], CT[0]]
    kept, left = outlines.of_scan(*CT)
    assert (kept.names, left) == (("a", "c"), ("b",))
    kept, left = outlines.of_scan(*MR)
    assert (kept.names, left) == (("b",), ("a", "c"))
    assert (outlines.frame, outlines.series) == CT


def test_images_of_the_contours_say_the_frame_that_a_structure_does_not(tmp_path):
    outlines = two_frames(tmp_path / "RS.dcm", ["", ""], [f"{MR[1]}.5", f"{CT[1]}.5"])
    assert outlines.of_scan(*MR)[0].names == ("a",)
    assert outlines.of_scan(*CT)[0].names == ("b",)


@shows_read(STRUCTURES, "a structure whose frame and images contradict each other", "left out")
def test_a_structure_whose_frame_and_images_contradict_each_other_is_drawn_nowhere(tmp_path):
    outlines = two_frames(tmp_path / "RS.dcm", [CT[0]], [f"{MR[1]}.5"])
    assert outlines.drawn_on["a"].contradicts
    assert outlines.of_scan(*CT)[0].names == outlines.of_scan(*MR)[0].names == ()


def test_a_frame_that_the_set_does_not_list_is_not_taken_for_the_listed_one(tmp_path):
    outlines = two_frames(tmp_path / "RS.dcm", ["1.2.9"], listed=(CT,))
    assert outlines.of_scan(*CT)[0].names == ()
    assert outlines.of_scan("1.2.9", "1.2.90")[0].names == ("a",)


def test_two_listed_frames_and_no_word_which_is_left_to_a_person(tmp_path):
    outlines = two_frames(tmp_path / "RS.dcm", [""])
    assert outlines.drawn_on["a"].lies_on(*CT) is None
    assert outlines.of_scan(*CT)[0].names == ()


def test_a_replaced_frame_uid_does_not_hide_the_series_that_was_outlined(tmp_path):
    outlines = two_frames(tmp_path / "RS.dcm", [CT[0]], listed=(CT,))
    assert outlines.of_scan("9.9.9", CT[1])[0].names == ("a",)
    assert outlines.of_scan("9.9.9", "9.9.90")[0].names == ()


@pytest.mark.parametrize(
    ("frame", "series", "expected"),
    [("F", "", True), ("F", "other", True), ("G", "S", None), ("G", "other", False),
     ("", "S", True), ("", "other", None), ("", "", None)],
)  # fmt: skip
def test_listed_series_do_not_outvote_the_frame(frame, series, expected):
    assert DrawnOn("F", ("S", "T")).lies_on(frame, series) is expected
