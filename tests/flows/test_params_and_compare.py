"""``synthct params`` and ``synthct compare`` as they are typed, in a small checkout."""

from __future__ import annotations

import json

import pytest

from synthct.flows.cli.app import command_line

HEAD = "case,patient,source,region,fold,method,reference,metric,value"


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """The demo and a wider workspace, both scored."""
    (tmp_path / ".dvc").mkdir()
    write(tmp_path, "dataset: demo\ncohort: {}\n", [60.0 + n for n in range(6)])
    wide = "dataset: demo\ncohort: {}\ntraining: {network: {name: unet_plus_plus, width: 16}}\n"
    write(tmp_path / "workspaces" / "wide", wide, [50.0 + 1.1 * n for n in range(7)])
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(folder, params, maes):
    here = folder.name == "wide"
    out = folder / ("artefacts" if here else "data/artefacts") / "evaluation"
    out.mkdir(parents=True)
    (folder / "params.yaml").write_text(params)
    lines = [f"P{n}_mr,P{n},mr,thorax,0,model,registered,mae_hu,{v}" for n, v in enumerate(maes)]
    lines += ["P0_mr,P0,mr,thorax,0,lookup,registered,mae_hu,120"]
    (out / "scores.csv").write_text("\n".join([HEAD, *lines]) + "\n")
    failed = {} if here else {"P0_mr": ["lost_structure"]}
    suspect = {"mr": {"cases": len(maes), "failed": failed}}
    (out / "summary.json").write_text(json.dumps({"suspect": suspect}))
    release = out.parent / "export" / "mr"
    release.mkdir(parents=True)
    (release / "card.json").write_text("{}")


def test_models_are_never_compared_on_different_cases(checkout, capsys):
    assert command_line(["compare", "demo", "wide", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    (row,) = document["scores"]
    assert (row["cases"], row["first"], row["second"]) == (6, 62.5, 52.75)
    assert row["difference"] == pytest.approx(-9.75)
    assert row["low"] < -9.75 < row["high"] < 0
    assert document["params"] == {"training.network.width": [None, 16]}
    assert document["releases"]["demo"][0]["suspect_cases"] == 1


def test_the_comparison_is_a_table_for_people(checkout, capsys):
    assert command_line(["compare", "demo", "wide"]) == 0
    shown = capsys.readouterr().out
    assert "wide - demo" in shown
    assert "demo: mr released, 1 of 6 cases suspect" in shown
    assert "training.network.width: null in demo, 16 in wide" in shown


def test_a_run_without_scores_is_named(checkout, capsys):
    (checkout / "data/artefacts/evaluation/scores.csv").unlink()
    assert command_line(["compare", "demo", "wide"]) == 2
    assert "demo: there are no scores" in capsys.readouterr().err
    assert command_line(["compare", "wide", "wider"]) == 2
    assert "there is no preset 'wider'" in capsys.readouterr().err


def test_a_key_says_what_it_costs_to_change_it(checkout, capsys):
    assert command_line(["params", "training.steps"]) == 0
    shown = capsys.readouterr().out
    assert "training.steps: 100000  (integer ≥ 1; default 100000)" in shown
    assert "recomputed after a change: training, evaluation, export, report" in shown
    assert command_line(["params", "trainng.steps"]) == 2
    assert "did you mean 'training.steps'?" in capsys.readouterr().err


def test_only_what_a_workspace_changes_is_listed(checkout, capsys):
    assert command_line(["params", "--diff", "--preset", "wide", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found) == {"dataset", "training.network.width"}
    assert found["training.network.width"] == {"value": 16, "default": None}


def test_an_editor_that_knows_the_schema_finds_a_typo(checkout, capsys):
    from jsonschema import Draft202012Validator

    assert command_line(["params", "--schema"]) == 0
    schema = json.loads(capsys.readouterr().out)
    Draft202012Validator.check_schema(schema)
    checker = Draft202012Validator(schema)
    assert checker.is_valid({"dataset": "demo", "training": {"steps": 5}})
    assert not checker.is_valid({"dataset": "demo", "trainng": {}})
    assert not checker.is_valid({"dataset": "demo", "training": {"steps": "5"}})


def test_a_question_without_a_subject_is_no_answer(checkout, capsys):
    for line in (["params"], ["params", "seed", "--diff"]):
        assert command_line(line) == 2
        assert "exactly one of them" in capsys.readouterr().err
