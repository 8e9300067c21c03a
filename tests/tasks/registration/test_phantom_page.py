"""The summary of the phantom benchmark, by hand."""

from benchmarks.registration_phantom import ADVISED, _summary


def row(error_mm, **more):
    return {"error_mm": error_mm, "gated_mm": error_mm, "verdict": "pass", "seconds": 1.0, **more}


MADE = {
    (0, "thorax", "mr"): {
        "start_mm": 9.0,
        "methods": {"elastix_mi": row(4.0), "mi": row(2.0), "lncc": row(10.0, gated_mm=5.0)},
    },
    (0, "thorax", "cbct"): {
        "start_mm": 9.0,
        "methods": {
            "elastix_mi": {**row(6.0, failure="gave up"), "verdict": "suspect"},
            "mi": row(5.0),
            "lncc": row(1.0),
        },
    },
}


def cells(label):
    text = _summary(MADE, ["elastix_mi", "mi", "lncc"])
    line = next(line for line in text.splitlines() if line.startswith(f"| {label} |"))
    return [cell.strip() for cell in line.strip("|").split("|")][1:]


def test_the_advised_row_takes_each_sources_own_method():
    assert cells(ADVISED)[0] == "0.30"  # (2 + 1) / (4 + 6)


def test_patients_on_which_elastix_gave_up_do_not_flatter_the_others_unseen():
    assert cells("mi")[:2] == ["0.70", "0.50"]  # (2 + 5) / (4 + 6), then 2 / 4
    assert cells("elastix_mi")[4] == "1 / 1 / 0 (1 gave up)"


def test_a_result_worse_than_the_start_is_counted_before_and_after_the_gate():
    assert cells("lncc")[2:4] == ["1 of 2", "0 of 2"]
