import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from synthct.flows.run.stages import StageResult
from synthct.flows.run.summary import as_json, exclusions, score_rows, show
from synthct.flows.workspace.project import Project, StageTarget

SCORES = """case,patient,source,region,fold,method,reference,metric,value
A_mr,A,mr,thorax,0,model,registered,mae_hu,40
B_mr,B,mr,thorax,1,model,registered,mae_hu,60
A_mr,A,mr,thorax,0,model,registered,psnr_db,30
B_mr,B,mr,thorax,1,model,registered,psnr_db,
A_mr,A,mr,thorax,0,lookup,registered,mae_hu,100
A_mr,A,mr,thorax,0,model,truth,mae_hu,35
A_mr,A,mr,thorax,0,model,registered,dice_bone,0.9
A_cbct,A,cbct,thorax,0,raw,registered,mae_hu,150
"""


@pytest.fixture
def project(tmp_path):
    names = ("ingestion", "evaluation", "export", "report")
    project = Project(
        tmp_path, "demo", tuple(StageTarget(n, n, Path("artefacts") / n) for n in names)
    )
    for stage in project.stages:
        (tmp_path / stage.out).mkdir(parents=True)
        (tmp_path / stage.out / "excluded.json").write_text("[]")
    return project


@pytest.fixture
def scored(project):
    (project.root / "artefacts/evaluation/scores.csv").write_text(SCORES)
    (project.root / "artefacts/report/index.html").write_text("<html>")
    row = {"unit": "C_mr", "problem": "it has two", "rule": "a scan has one series"}
    row |= {"where": "", "remedy": "name one"}
    (project.root / "artefacts/ingestion/excluded.json").write_text(json.dumps([row]))
    return project


def test_means_are_over_cases_and_never_mix_task_reference_or_method(scored):
    rows = score_rows(scored)
    assert [(r["source"], r["reference"], r["method"], r["cases"]) for r in rows] == [
        ("cbct", "registered", "raw", 1),
        ("mr", "registered", "model", 2),
        ("mr", "registered", "lookup", 1),
        ("mr", "truth", "model", 1),
    ]
    assert rows[1]["mae_hu"] == 50.0
    assert rows[1]["psnr_db"] == 30.0  # the empty value is no score, and no zero
    assert "dice_bone" not in rows[1]


def test_excluded_cases_are_listed_with_the_stage_that_set_them_aside(scored):
    assert [(row["stage"], row["unit"]) for row in exclusions(scored)] == [("ingestion", "C_mr")]


def test_person_is_shown_scores_exclusions_times_and_where_the_report_is(scored):
    console = Console(record=True, width=100, file=io.StringIO())
    show(console, scored, [StageResult("ingestion", "ran", 65.0)], 70.0)
    text = console.export_text()
    for expected in (
        "MAE [HU]", "PSNR [dB]", "50.0",
        "excluded by ingestion: C_mr: it has two; a scan has one series; name one",
        "1 min 10 s in all: ingestion 1 min 05 s", "report: artefacts/report/index.html",
    ):  # fmt: skip
        assert expected in text


def test_a_pair_that_the_gate_doubts_is_missing_without_a_word(scored):
    folder = scored.root / "artefacts" / "registration"
    folder.mkdir()
    pairs = (
        "case,verdict,reason\nA_mr,pass,\nB_mr,suspect,scored all the same\nD_mr,suspect,it folds\n"
    )
    (folder / "quality.csv").write_text(pairs)
    stage = StageTarget("registration", "registration", Path("artefacts/registration"))
    project = replace(scored, stages=(*scored.stages, stage))
    console = Console(record=True, width=100, file=io.StringIO())
    show(console, project, [], 70.0)
    text = console.export_text()
    assert "D_mr: not scored, its registration is suspect: it folds" in text
    assert text.count("not scored") == 1
    assert [row["case"] for row in as_json(project, [], 0.0)["doubted"]] == ["D_mr"]


def test_how_far_the_reference_itself_moves_stands_under_the_table_where_it_was_measured(scored):
    console = Console(record=True, width=100, file=io.StringIO())
    show(console, scored, [], 70.0)
    assert "reference itself" not in console.export_text()
    table = scored.root / "artefacts/evaluation/scores.csv"
    moved = "A_mr,A,mr,thorax,0,registered,registered,floor_mae_hu,21\n"
    table.write_text(SCORES + moved + moved.replace("A", "B").replace("21", "23"))
    show(console, scored, [], 70.0)
    text = console.export_text()
    assert "mr: the reference itself differs by 22.0 HU (MAE) between alignments" in text


def test_machine_gets_the_same_as_plain_json(scored):
    document = json.loads(
        json.dumps(as_json(scored, [StageResult("report", "restored", 1.5)], 2.0))
    )
    assert document["stages"] == [{"name": "report", "how": "restored", "seconds": 1.5}]
    assert document["report"] == "artefacts/report/index.html"
    assert len(document["scores"]) == 4
    assert document["excluded"][0]["unit"] == "C_mr"


def test_chain_that_was_not_scored_yet_has_no_table(project):
    assert score_rows(project) == []
    assert as_json(project, [], 0.0)["report"] is None


def test_suspect_cases_and_a_refused_model_stand_below_the_scores(scored):
    evaluation, export = (scored.root / "artefacts" / n for n in ("evaluation", "export"))
    failed = {"A_mr": ["lost_structure", "detail"], "B_mr": ["lost_structure"]}
    suspect = {"mr": {"cases": 2, "failed": failed}, "cbct": {"cases": 1, "failed": {}}}
    (evaluation / "summary.json").write_text(json.dumps({"suspect": suspect}))
    (export / "mr").mkdir()
    (export / "mr" / "refused.json").write_text(json.dumps({"problem": "2 of 2 are suspect"}))
    (export / "cbct").mkdir()
    card = {"demonstration_only": "there are only 1 unseen cases"}
    (export / "cbct" / "card.json").write_text(json.dumps(card))
    row = {"unit": "mr", "problem": "2 of 2 are suspect", "rule": "", "where": "mr", "remedy": ""}
    (export / "excluded.json").write_text(json.dumps([row]))
    console = Console(record=True, width=100, file=io.StringIO())
    show(console, scored, [], 70.0)
    text = console.export_text()
    for expected in (
        "mr: 2 of 2 unseen cases are suspect (detail 1, lost structure 2)",
        "mr: not released: 2 of 2 are suspect",
        "cbct: not released, written for demonstration only: there are only 1 unseen cases",
    ):
        assert expected in text
    assert "excluded by export" not in text
    states = {row["source"]: row["state"] for row in as_json(scored, [], 0.0)["releases"]}
    assert states == {"mr": "refused", "cbct": "demonstration"}
