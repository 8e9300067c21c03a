"""A study that the params name is in the report, or its absence is an error."""

from __future__ import annotations

import pytest
import yaml

from synthct.data.errors import UsageError
from synthct.data.files import write_whole
from synthct.data.layout import study_folder
from synthct.tasks.chain.table import render
from synthct.tasks.report.params import ReportParams
from synthct.tasks.report.reading import read_chain
from synthct.tasks.report.run import run
from synthct.tasks.report.views.study import study
from tests.tasks.report.tables import write_study


def test_every_arm_of_a_study_is_reported_with_its_interval_best_first(tree):
    (own,) = read_chain(tree.layout).studies
    (part,) = study(own).parts
    rows = [[cell.text for cell in row] for row in part.table.rows]
    assert rows == [
        ["cutout", "58.50", "60.00", "−1.50", "too few", "2 of 3", "–"],
        ["mixup", "65.00", "60.00", "5.00", "4.25 to 6.50", "0 of 3", "0.002"],
    ]
    assert "difference to none [HU]" in part.figure


def test_the_study_of_another_workspace_is_shown_where_params_name_it(tree, monkeypatch):
    monkeypatch.chdir(tree.root)
    write_study(study_folder("bias"))
    context = tree.context()
    run(context, ReportParams(strips=0, registration_cases=0, studies=("bias",)))
    page = tree.page()
    assert '<a href="#study">Study</a>' in page
    assert "<h3>bias</h3>" in page
    assert page.count("difference to none [HU]") == 2  # the workspace's own, and the named one


def test_a_named_study_that_never_ran_stops_the_report_instead_of_being_left_out(tree):
    with pytest.raises(UsageError, match=r"synthct study --grid presets/bias\.yaml"):
        read_chain(tree.layout, ["bias"])


def test_a_new_run_of_the_study_makes_the_report_stale(tmp_path):
    write_whole(tmp_path / "params.yaml", "seed: 1\ndataset: demo\nreport: {studies: [bias]}\n")
    stages = yaml.safe_load(render(tmp_path))["stages"]
    assert "workspaces/bias/artefacts/study/index.html" in stages["report"]["deps"]
    assert not [d for d in stages["export"]["deps"] if d.endswith("index.html")]
