"""``synthct params`` and ``synthct compare`` as they are typed, in a small checkout."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil

import numpy as np
import pytest
from PIL import Image

from synthct.data.store.volumes import read_volume, write_volume
from synthct.flows.cli.app import command_line
from tests.tasks.report.conftest import Tree

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


@pytest.fixture
def pictured(tmp_path, monkeypatch):
    """Two workspaces of the same cases; the synthetic CTs of the second are 30 HU higher."""
    (tmp_path / ".dvc").mkdir()
    (tmp_path / "params.yaml").write_text("dataset: demo\n")
    mine = Tree(tmp_path / "workspaces" / "mine").build()
    higher = tmp_path / "workspaces" / "higher"
    shutil.copytree(mine.root / "artefacts", higher / "artefacts")
    for seed, root in ((1, mine.root), (2, higher)):
        (root / "params.yaml").write_text(f"seed: {seed}\ndataset: fixture\ncohort: {{}}\n")
    for case in mine.cases():
        file = higher / "artefacts" / "evaluation" / case / "sct.zarr"
        sct = read_volume(file)
        shutil.rmtree(file)
        write_volume(file, sct.with_array(sct.array + np.int16(30)))
    monkeypatch.chdir(tmp_path)
    return mine


def test_the_page_shows_other_cases_than_it_says_or_loads_something(pictured, tmp_path, capsys):
    page = tmp_path / "compare.html"
    line = ["compare", "mine", "higher", "--out", str(page)]
    assert command_line(line) == 0
    assert f"{page}: " in capsys.readouterr().out
    text = page.read_text()
    assert "default-src 'none'" in text
    assert not re.search(r"https?://|<script|@import", text)
    assert '<td class="value">1</td><td class="value">2</td>' in text  # seed
    cases = re.findall(r"<h4>(\S+) <span class=\"quiet\">(\d) of 3 by difference", text)
    assert [place for _, place in cases] == ["1", "2", "3"] * 2  # of each source
    assert {case for case, _ in cases} == set(pictured.cases())
    pictures = re.findall(r"<image href=\"(data:image/webp;base64,[^\"]+)\"", text)
    assert len(pictures) == 6 * len(cases)
    source, ct, one, other, error, higher = (pixels(each) for each in pictures[:6])
    assert source.shape == ct.shape == one.shape
    inside = error[..., 3] > 128
    redder = [(each[..., 0] - each[..., 2])[inside].mean() for each in (error, higher)]
    assert redder[1] > redder[0] + 10  # too high is red
    grey = (one[..., 0] > 5) & (other[..., 0] < 250)
    np.testing.assert_allclose((other - one)[..., 0][grey & inside].mean(), 30 / 400 * 255, atol=4)
    assert command_line(line) == 2
    assert "add --overwrite" in capsys.readouterr().err


def test_a_case_without_volumes_ends_the_comparison(pictured, tmp_path):
    for case in pictured.cases():
        shutil.rmtree(pictured.folder("registration") / case / "ct.zarr")
    assert command_line(["compare", "mine", "higher", "--out", str(tmp_path / "c.html")]) == 0
    assert "not in the checkout" in (tmp_path / "c.html").read_text()


def pixels(uri):
    file = io.BytesIO(base64.b64decode(uri.partition(",")[2]))
    return np.asarray(Image.open(file).convert("RGBA")).astype(int)
