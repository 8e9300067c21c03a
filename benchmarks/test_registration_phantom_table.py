"""The tables of the phantom benchmark, by hand."""

import re

from benchmarks._registration_phantom_pieces import LONG, REFERENCE, TUNED
from benchmarks._registration_phantom_table import ADVISED, BY_SOURCE, by_region, summary, table
from benchmarks.registration_phantom import ROWS


def row(error_mm, **more):
    values = {"error_mm": error_mm, "gated_mm": error_mm, "verdict": "pass", "cpu_seconds": 1.0}
    return values | more


def gave_up(error_mm):
    return {
        "error_mm": error_mm,
        "gated_mm": error_mm,
        "verdict": "suspect",
        "failure": "out of reach",
    }


MADE = {
    (0, "thorax", "mr"): {
        "start_mm": 9.0,
        "methods": {
            REFERENCE: row(8.0, cpu_seconds=4.0),
            TUNED: row(4.0),
            "mi": row(2.0),
            LONG: row(10.0, gated_mm=5.0),
        },
    },
    (0, "thorax", "cbct"): {
        "start_mm": 9.0,
        "methods": {
            REFERENCE: row(4.0, cpu_seconds=4.0),
            TUNED: gave_up(6.0),
            "mi": row(5.0),
            LONG: row(1.0),
        },
    },
}


def cells(text, label):
    line = next(line for line in text.splitlines() if line.startswith(f"| {label} |"))
    return [cell.strip() for cell in line.strip("|").split("|")][1:]


def test_the_advised_row_takes_each_sources_own_method():
    assert cells(summary(MADE, list(ROWS)), ADVISED)[0] == "0.25"  # (2 + 1) / (8 + 4)


def test_a_patient_on_whom_elastix_gave_up_flatters_nobody():
    found = summary(MADE, list(ROWS))
    assert cells(found, "mi")[:2] == ["0.58", "0.50 (1)"]  # (2 + 5) / (8 + 4), then 2 / 4 of one
    assert cells(found, TUNED)[4] == "1 / 1 / 0 (1 without a result)"


def test_a_result_worse_than_the_start_is_counted_before_and_after_the_gate():
    assert cells(summary(MADE, list(ROWS)), LONG)[2:4] == ["1 of 2", "0 of 2"]


def test_cpu_is_compared_with_the_reference():
    assert cells(summary(MADE, list(ROWS)), "mi")[-1] == "0.25"


def test_regions_are_compared_one_by_one_and_absent_ones_are_dashes():
    found = cells(by_region(MADE), REFERENCE)
    assert found == ["0.25", "-", "-", "0.25", "-", "-"]


def test_a_row_run_on_some_patients_alone_says_on_how_many():
    some = dict(MADE)
    some[1, "thorax", "mr"] = {"start_mm": 5.0, "methods": {REFERENCE: row(2.0)}}
    for value in some.values():
        value.update({"best_rigid_mm": 3.0, "rigid_mm": 3.5})
    assert cells(table(some, "mr", list(ROWS)), "mi")[0] == "2.00 (1)"
    assert cells(table(some, "mr", list(ROWS)), REFERENCE)[0] == "5.00"


def test_every_row_that_the_page_advises_is_made():
    assert set(BY_SOURCE.values()) <= set(ROWS)
    assert not [label for label in ROWS if re.search(r"[|\n]", label)]
