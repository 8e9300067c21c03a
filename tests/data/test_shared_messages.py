"""What several commands say or do is written once: suggestions, rounding, the empty mask."""

from __future__ import annotations

import math
import pickle
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synthct.data.environment import UNITS
from synthct.data.errors import did_you_mean, mask_empty, nearest
from synthct.data.tables import floats_to_six_digits, six_digits, six_digits_text

ROOT = Path(__file__).resolve().parents[2]
HOMES = {
    "difflib.": "data/errors.py",
    ".6g}": "data/tables.py",
    '"mask-empty"': "data/errors.py",
}


@pytest.mark.parametrize("said", HOMES)
def test_it_is_written_a_second_time(said):
    files = (file for room in ("data", "tasks", "flows") for file in (ROOT / room).rglob("*.py"))
    found = {file.relative_to(ROOT).as_posix() for file in files if said in file.read_text()}
    assert found == {HOMES[said]}


def test_a_slip_of_the_pen_or_of_the_shift_key_is_answered_with_the_whole_list():
    known = ("lncc", "elastix_mi", "mr_AB")
    assert did_you_mean("lnc", known) == "did you mean 'lncc'?"
    assert did_you_mean("MR_ab", known) == "did you mean 'mr_AB'?"
    assert did_you_mean("zzz", known) == "known: elastix_mi, lncc, mr_AB"
    assert did_you_mean("zzz", [], kind="its parameters") == "its parameters: none"
    assert nearest("zzz", known) is None


def test_the_seventh_digit_of_a_machine_reaches_a_table():
    assert six_digits(12345.6789) == 12345.7
    assert six_digits(-1.23456789e-9) == -1.23457e-9
    assert floats_to_six_digits(3) == 3
    assert floats_to_six_digits("3.00000001") == "3.00000001"
    assert six_digits_text(0.1 + 0.2) == "0.3"
    assert six_digits_text(1234567) == "1234567", "an integer is told whole"


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_rounding_twice_is_not_rounding_once(value):
    once = six_digits(value)
    assert six_digits(once) == once
    assert math.isclose(once, value, rel_tol=5.1e-6, abs_tol=1e-300) or abs(value) < 1e-300


def test_an_empty_mask_is_reported_in_as_many_ways_as_there_are_commands():
    fault = mask_empty("the body mask", "the scan", where="mask.mha")
    assert fault.code == "mask-empty"
    assert str(fault).startswith(
        "mask.mha: the body mask is empty; the body mask holds at least one voxel of the scan; "
    )


def test_a_variable_cannot_travel_to_a_worker():
    back = pickle.loads(pickle.dumps({UNITS: "x"}))
    assert back == {"SYNTHCT_UNITS": "x"}
    assert {type(name) for name in back} == {str}
