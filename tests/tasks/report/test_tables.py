"""Numbers as people read them, and tables with hand-computed cells."""

from __future__ import annotations

import pytest

from synthct.tasks.figures.charts import Dots, Line, dot_chart, line_chart, ticks
from synthct.tasks.figures.numbers import (
    digits_for,
    fixed,
    label_and_unit,
    mean_sd,
    without_folders,
)
from synthct.tasks.report.reading import Score
from synthct.tasks.report.table import from_rows
from synthct.tasks.report.views import training
from synthct.tasks.report.views.score_tables import (
    bias_table,
    part_tables,
    ratio_table,
    score_table,
)


def score(case, method, reference, metric, value, region="thorax"):
    return Score(case, case[:2], "mr", region, "0", method, reference, metric, value)


def cells(table):
    return [[cell.text for cell in row] for row in table.rows]


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [(-3.25, 1, "−3.2"), (-0.004, 2, "0.00"), (12.0, 0, "12"), (1234.5, 0, "1234")],
)
def test_numbers_have_a_true_minus_and_no_minus_zero(value, digits, text):
    assert fixed(value, digits) == text


def test_a_column_has_three_figures_for_its_largest():
    assert digits_for([0.123, 0.9]) == 3
    assert digits_for([55.21, 3.1]) == 1
    assert digits_for([312.2, 1.5]) == 0
    assert digits_for([3.0, 4.0]) == 0
    assert digits_for([]) == 0


def test_a_spread_of_two_is_not_shown():
    assert mean_sd([1.0, 3.0], 1) == "2.0"
    assert mean_sd([1.0, 2.0, 3.0], 1) == "2.0 ± 1.0"  # n - 1
    assert mean_sd([], 1) == ""


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("true_registered_mm", ("True error after", "mm")),
        ("body_cm3", ("Body", "cm³")),
        ("mae_hu", ("MAE", "HU")),
        ("folding_percent", ("Folding", "%")),
        ("verdict", ("Verdict", "")),
    ],
)
def test_a_column_is_named_with_its_unit(name, label):
    assert label_and_unit(name) == label


def test_paths_lose_their_folders_and_addresses_do_not():
    assert without_folders("in /srv/a/b/c.dcm, twice") == "in b/c.dcm, twice"
    assert without_folders("https://a.org/b/c/d") == "https://a.org/b/c/d"
    assert without_folders("HN-01/ct and 1/2/3") == "HN-01/ct and 1/2/3"


def test_a_table_aligns_numbers_and_drops_columns_without_values():
    rows = [
        {"case": "a", "max_mm": "9.51234", "note": "", "verdict": "pass"},
        {"case": "b", "max_mm": "", "note": "", "verdict": "fail"},
    ]
    table = from_rows("t", rows, last=("case",))
    assert [(c.label, c.unit, c.numeric) for c in table.columns] == [
        ("Max displacement", "mm", True), ("Verdict", "", False), ("Case", "", False),
    ]  # fmt: skip
    assert cells(table) == [["9.51", "pass", "a"], ["", "fail", "b"]]
    assert table.rows[1][1].kind == "fail"


def test_a_score_table_says_of_how_many_each_mean_is():
    scores = [
        score("a_mr", "model", "registered", "mae_hu", 40.0),
        score("b_mr", "model", "registered", "mae_hu", 60.0, "abdomen"),
        score("a_mr", "lookup", "registered", "mae_hu", 100.0),
        score("a_mr", "model", "truth", "mae_hu", 30.0),
    ]
    table = score_table(scores, "mr")
    assert cells(table) == [
        ["abdomen", "model", "1", "60", "", "–"],
        ["thorax", "model", "1", "40", "1", "30"],
        ["", "intensity look-up", "1", "100", "", "–"],
        ["all regions", "model", "2", "50", "1", "30"],
        ["", "intensity look-up", "1", "100", "", "–"],
    ]
    assert table.groups == [
        ("", 2), ("against the registered CT", 2), ("against the true CT", 2),
    ]  # fmt: skip
    assert table.rows[1][3].kind == "best"
    assert table.rows[2][3].kind == ""


def test_registration_bias_is_paired_by_case():
    scores = [
        score("a_mr", "model", "registered", "mae_hu", 40.0),
        score("a_mr", "model", "truth", "mae_hu", 34.0),
        score("b_mr", "model", "registered", "mae_hu", 900.0),  # no truth: not in the mean
        score("a_mr", "lookup", "registered", "mae_hu", 70.0),
        score("a_mr", "lookup", "truth", "mae_hu", 72.0),
    ]
    assert cells(bias_table(scores)) == [
        ["model", "1", "40", "34", "+6"],
        ["intensity look-up", "1", "70", "72", "−2"],
    ]
    assert bias_table(scores[2:3]) is None


def test_ratios_show_their_interval_only_where_there_is_one():
    result = {"registered": {"model_over_lookup": {"value": 0.5, "n": 6, "low": 0.4, "high": 0.61}}}
    result |= {"truth": {"model_over_lookup": {"value": 0.45, "n": 3}}}
    assert cells(ratio_table(result)) == [
        ["intensity look-up", "0.50 [0.40, 0.61] (n = 6)", "0.45 (n = 3)"]
    ]
    assert ratio_table({}) is None


def test_structures_and_bands_do_not_enter_one_another():
    scores = [
        score("a_mr", "model", "truth", "dice_bone", 0.8),
        score("a_mr", "model", "truth", "surface_dice_bone", 0.7),
        score("a_mr", "model", "registered", "mae_hu_lung", 55.0),
        score("a_mr", "model", "registered", "mae_hu", 10.0),
    ]
    tables = part_tables(scores)
    assert [table.caption.partition(";")[0] for table in tables] == [
        "Dice of structures",
        "Surface Dice of structures",
        "MAE by HU band of the reference [HU]",
    ]
    assert [cells(table) for table in tables] == [
        [["model", "true CT", "1", "0.80"]],
        [["model", "true CT", "1", "0.70"]],
        [["model", "registered CT", "1", "55"]],
    ]


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0, 100, [0, 25, 50, 75, 100]), (0, 320, [0, 100, 200, 300, 400]), (0, 0, [0, 0.25])],
)
def test_ticks_are_round_and_cover_the_data(low, high, expected):
    assert ticks(low, high)[: len(expected)] == expected


def test_a_curve_ends_where_its_last_point_belongs():
    chart = line_chart([Line("a", [(0, 0), (100, 100)])], x_label="x", y_label="y", alt="a")
    assert 'points="56.0,208.0 416.0,14.0"' in chart  # the frame's corners
    assert line_chart([Line("a", [])], x_label="x", y_label="y", alt="a") == ""


def test_a_dot_chart_marks_the_mean_of_each_row():
    chart = dot_chart([Dots("m", [("a", 0.0, 0), ("b", 100.0, 1)])], x_label="x", alt="a")
    assert 'd="M420.0 ' in chart  # halfway between 150 and 690
    assert ">50<" in chart


def test_how_far_the_reference_moves_is_shown_with_every_mae():
    scores = [
        score("A1_mr", "model", "registered", "mae_hu", 50.0),
        score("A1_mr", "lookup", "registered", "mae_hu", 80.0),
        score("A1_mr", "registered", "registered", "floor_mae_hu", 21.0),
    ]
    table = score_table(scores, "mr")
    assert [c.label for c in table.columns] == ["Region", "Method", "n", "MAE", "reference moves"]
    assert cells(table) == [
        ["thorax", "model", "1", "50", "21"],
        ["", "intensity look-up", "1", "80", "21"],
    ]


def test_completeness_over_all_classes_has_a_name_in_its_table():
    parts = part_tables(
        [score("A1_mr", "model", "truth", m, 0.5) for m in ("completeness", "completeness_bone")]
    )
    assert [c.label for c in parts[0].columns[3:]] == ["all", "bone"]


def test_a_learned_strength_is_shown_with_its_initial_value():
    model = {
        "regularizers": [{"name": "norm_loss", "weight": 0.01}],
        "learned_strengths": {"norm_loss": 0.004567},
    }
    (row,) = cells(training._models({"mr_fold0": model}))
    assert row[2] == "norm_loss (weight 0.01); learned: norm_loss 0.00457"
