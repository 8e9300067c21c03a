"""What speaks against a score is stated on the page, not only in a file."""

from __future__ import annotations

import json
import re
import shutil

import pytest

from synthct.data.files import canonical_json, write_whole
from synthct.tasks.figures.matrix_chart import matrix_chart
from synthct.tasks.report.params import ReportParams
from synthct.tasks.report.reading import read_chain
from synthct.tasks.report.run import run
from synthct.tasks.report.views.bias import bias
from synthct.tasks.report.views.trust import trust


@pytest.fixture
def section(page):
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page.partition('id="trust"')[2]))


def test_suspect_cases_unlike_scans_and_the_floor_are_reported(section):
    assert "1 of the 6 cases is suspect" in section
    assert "lost structure" in section
    assert "3.21 ml" in section
    assert "1 of the 6 scans is unlike" in section
    assert "noise" in section
    assert "The reference itself differs by 21 HU" in section


def test_the_floor_is_shown_with_the_main_number_and_the_case(page):
    assert "The reference itself differs by 21 HU between alignments." in page
    assert page.count("reference between alignments 21 HU") == 1


def test_intervals_that_do_not_hold_are_not_to_be_relied_on(section):
    assert "cover 81.0 % of the voxels against the registered CT" in section
    assert "the nominal value lies outside: do not rely on these intervals here" in section
    assert "Too few patients to judge intervals" in section  # the CBCT source


def test_intervals_that_hold_say_so_and_few_cases_have_no_verdict(tree):
    path = tree.folder("evaluation") / "trust.json"
    result = json.loads(path.read_text())
    result["uncertainty"]["mr"]["registered"]["coverage"]["all"] |= {"high": 0.93, "holds": True}
    write_whole(path, canonical_json(result))
    sentences = trust(read_chain(tree.layout)).sources[0].sentences
    assert "the nominal value lies in it" in sentences[0]


def test_the_published_ranking_is_shown_with_the_corrected_one(section):
    assert "Mean rank, corrected" in section
    assert "in the wrong direction" in section


def test_the_bias_matrix_is_drawn_where_there_is_a_study(tree, page):
    assert "A model scores best under the alignment it was trained on" in page
    (own,) = read_chain(tree.layout).studies
    found = bias(own)
    assert found.sentences == [
        "Under impact, the model trained on it differs from the one trained on elastix_mi by "
        "−4.7 HU (95 % interval −6.1 to −3.2): the reference favours the model "
        "that was trained on it."
    ]
    shutil.rmtree(tree.folder("study"))
    run(tree.context(), ReportParams(strips=0, registration_cases=0))
    assert "Registration bias between alignments" not in tree.page()


def test_the_least_of_each_column_of_a_matrix_is_bold_and_a_missing_cell_is_a_dash():
    cells = {("a", "x"): 10.0, ("b", "x"): 20.0, ("b", "y"): 5.0}
    drawn = matrix_chart(
        cells, ["a", "b"], ["x", "y"], row_label="rows", column_label="columns", alt="<alt>"
    )
    bold = re.findall(r'class="strong"[^>]*>([^<]+)<', drawn)
    assert bold == ["x", "y", "a", "10", "b", "5"]
    assert "–" in drawn
    assert "&lt;alt&gt;" in drawn
    assert matrix_chart({}, [], [], row_label="", column_label="", alt="") == ""


def test_an_evaluation_without_these_facts_claims_nothing(tree):
    (tree.folder("evaluation") / "trust.json").unlink()
    run(tree.context(), ReportParams(strips=0, registration_cases=0))
    assert "suspect." not in tree.page().partition('id="trust"')[2].partition("</section>")[0]


def test_a_region_that_calibration_lacks_and_scores_that_hang_on_a_voxel_are_in_no_table(tree):
    path = tree.folder("evaluation") / "trust.json"
    result = json.loads(path.read_text())
    result["uncertainty"]["mr"]["registered"]["elsewhere"] = {
        "thorax": {"cases": 20, "patients_elsewhere": 40, "split": 0.801, "adapted": 0.917}
    }
    result["stability"] = {
        "mr": {
            "mae_hu": {
                "n": 6, "icc": {"all": 0.61, "masks": 0.98, "registration": 0.42}, "stable": False,
            },
            "me_hu": {"n": 6, "icc": dict.fromkeys(("all", "masks", "registration")),
                      "stable": None},
        }
    }  # fmt: skip
    write_whole(path, canonical_json(result))
    (shown,) = [s for s in trust(read_chain(tree.layout)).sources if len(s.tables) >= 3]
    cells = [cell.text for table in shown.tables for row in table.rows for cell in row]
    assert {"80.1", "91.7", "0.61", "0.42", "0.98"} <= set(cells)
    assert "(ICC below 0.75): mae_hu." in shown.sentences[-1]
