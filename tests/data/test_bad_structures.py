"""One bad or doubly named structure does not take the others of its set with it."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest

from synthct.data.readers import read_structures
from tests.fixtures.outcomes import STRUCTURES, shows_read, shows_repair
from tests.fixtures.radiotherapy import square, structure_set


@pytest.fixture
def rtstruct(tmp_path):
    """Write a set of these structures, changed by ``edit``; gives its outlines."""

    def write(names, edit=lambda dataset: None):
        places = {f"{number} {name}": [square(number, number + 3, 0.0)]
                  for number, name in enumerate(names)}  # fmt: skip
        file = structure_set(tmp_path / "rs.dcm", places, frame="1.2.3")
        dataset = pydicom.dcmread(file)
        for item, name in zip(dataset.StructureSetROISequence, names, strict=True):
            item.ROIName = name
        edit(dataset)
        dataset.save_as(file)
        return read_structures(file)

    return write


def lows(outlines):
    return {name: float(np.min(parts[0][:, 2])) for name, parts in outlines.contours.items()}


@shows_repair(STRUCTURES, "two structures with one name", "the second is called `NAME (2)`")
def test_two_structures_of_one_name_are_both_there_and_apart(rtstruct):
    assert lows(rtstruct(["Heart", "Lung", "Heart", "Heart"])) == {
        "Heart": 0.0, "Lung": 1.0, "Heart (2)": 2.0, "Heart (3)": 3.0,
    }  # fmt: skip


def test_a_name_that_looks_like_a_second_one_takes_nobodys_place(rtstruct):
    found = lows(rtstruct(["Heart (2)", "Heart", "Heart"]))
    assert sorted(found.values()) == [0.0, 1.0, 2.0]
    assert {"Heart", "Heart (2)"} < set(found)


@shows_read(STRUCTURES, "one damaged structure in a set", "left out; the others are read")
@pytest.mark.parametrize("harm", ["two numbers", "no data", "not a number", "wrong count"])
def test_damaged_contours_leave_the_other_structures_readable(rtstruct, harm):
    def edit(dataset):
        contour = dataset.ROIContourSequence[1].ContourSequence[0]
        if harm == "no data":
            del contour.ContourData
        elif harm == "wrong count":
            contour.NumberOfContourPoints = 40
        else:
            contour.ContourData = ["1", "2"] if harm == "two numbers" else ["nan"] * 12

    found = rtstruct(["Heart", "Lung", "Liver"], edit)
    assert set(lows(found)) == {"Heart", "Liver"}
    assert found.left_out == {"Lung": "damaged"}


def test_a_structure_without_a_number_leaves_the_others_readable(rtstruct):
    def edit(dataset):
        del dataset.ROIContourSequence[1].ReferencedROINumber

    found = lows(rtstruct(["Heart", "Lung", "Liver"], edit))
    assert (found["Heart"], found["Liver"]) == (0.0, 2.0)
    assert "Lung" not in found
