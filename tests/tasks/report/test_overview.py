"""Pictures for README and docs: small, the same bytes every time, colours that mean something."""

from __future__ import annotations

import importlib.util
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from synthct.tasks.report.overview import RegisteredRow, ScoredRow, registration_png, scores_png
from synthct.tasks.report.reading import read_chain
from synthct.tasks.report.strips import read_scene

SCRIPT = Path(__file__).resolve().parents[3] / "docs" / "make_pictures.py"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("make_pictures", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_script_draws_every_task_small_and_without_metadata(script, template):
    made = dict(script.pictures(read_chain(template.layout)))
    assert sorted(made) == ["registration_cbct", "registration_mr", "scores_cbct", "scores_mr"]
    for content in made.values():
        assert len(content) < 300_000
        assert set(Image.open(io.BytesIO(content)).info) <= {"dpi"}


def test_the_case_of_median_error_is_shown_and_never_the_best(script, template, tmp_path):
    patients = {"TH-01": "thorax", "TH-02": "thorax", "TH-03": "thorax"}
    errors = {"TH-01_mr": 90.0, "TH-02_mr": 50.0, "TH-03_mr": 70.0}
    tree = type(template)(tmp_path / "three", (6, 16, 16), patients=patients, errors_hu=errors)
    rows = script.scored_rows(read_chain(tree.build().layout), "mr")
    assert [row.label for row in rows] == ["thorax, MAE 70 HU"]


def test_the_same_volumes_give_the_same_bytes(template):
    registered = template.folder("registration") / "TH-01_mr"
    scene = read_scene(registered, template.folder("evaluation") / "TH-01_mr")
    rows = [ScoredRow("a", scene, 5)]
    assert scores_png(rows) == scores_png(rows)
    rows = [RegisteredRow("a", registered)]
    assert registration_png(rows) == registration_png(rows)


def test_errors_are_red_where_the_synthetic_ct_is_too_dense(template):
    registered = template.folder("registration") / "TH-01_mr"
    scene = read_scene(registered, template.folder("evaluation") / "TH-01_mr")
    dense = scene.ct.with_array(np.clip(scene.ct.array.astype(int) + 150, -1024, 3071))
    row = ScoredRow("a", type(scene)(scene.source, scene.ct, dense, scene.mask), 5)
    pixels = np.asarray(Image.open(io.BytesIO(scores_png([row]))).convert("RGB")).astype(int)
    panel = pixels[:, pixels.shape[1] * 7 // 10 : pixels.shape[1] * 9 // 10]
    red, _, blue = np.moveaxis(panel, -1, 0)
    assert np.count_nonzero(red > blue + 80) > 1000
    assert np.count_nonzero(blue > red + 80) == 0
