from __future__ import annotations

import json

import numpy as np
import pytest

from synthct.data.errors import DataError, UsageError
from synthct.data.files import content_hash
from synthct.data.store.volumes import read_volume
from synthct.tasks.export.card import render_card
from synthct.tasks.export.distil import distil
from synthct.tasks.export.params import ExportParams
from synthct.tasks.export.release import release_source
from synthct.tasks.models.sliding import predict
from synthct.tasks.prediction.release import open_release
from synthct.tasks.prediction.runtime import onnx_runners
from synthct.tasks.training.run_state import load_checkpoint
from tests.tasks.export.conftest import FACTS, make_artefacts

DISTIL = {"steps": 60, "batch": 2, "learning_rate": 0.01}


def with_student(out, artefacts, scratch, *, seen=("P1_mr", "P2_mr")):
    out.mkdir()
    scratch.mkdir(exist_ok=True)
    folders = {f"fold{k}": artefacts / "training" / f"mr_fold{k}" for k in (0, 1)}
    folders |= {f"case{k}": artefacts / "registration" / "P3_mr" for k in (0, 1)}
    folders["held000"] = artefacts / "registration" / "P3_mr"
    folders |= {f"seen{n:03d}": artefacts / "registration" / name for n, name in enumerate(seen)}
    params = json.loads(ExportParams(distil=DISTIL).model_dump_json())
    release_source(
        out=out, source="mr", params=params, facts=dict(FACTS), ingestion={}, refusal=None,
        seed=3, scratch=scratch, **folders,
    )  # fmt: skip
    return out


@pytest.fixture(scope="module")
def taught(tmp_path_factory, describe):
    """(release with a student, artefacts), made once: only read it."""
    root = tmp_path_factory.mktemp("distilled")
    artefacts = make_artefacts(root / "artefacts", describe)
    return with_student(root / "release", artefacts, root / "scratch"), artefacts


@pytest.mark.slow
def test_the_student_answers_nearer_to_the_ensemble_than_the_fold_it_began_as(taught):
    folder, artefacts = taught
    opened = open_release(folder)
    case = artefacts / "registration" / "P3_mr"
    source, mask = read_volume(case / "source.zarr"), read_volume(case / "mask.zarr")
    inside = mask.array > 0

    def hu(graphs):
        got = predict(onnx_runners(graphs), source, mask, opened.model).hu
        return got[inside].astype(float)

    ensemble, first = hu(opened.graphs()), hu(list(opened.graphs())[:1])
    student = hu(opened.graphs(student=True))
    assert np.abs(student - ensemble).mean() < 0.8 * np.abs(first - ensemble).mean()


@pytest.mark.slow
def test_the_card_says_what_the_student_costs_on_patients_it_never_saw(taught):
    folder, _ = taught
    result = json.loads((folder / "card.json").read_text())["distilled"]
    assert (result["steps"], result["training_cases"], result["scored_cases"]) == (60, 2, 1)
    cost_hu = result["mae_student_hu"] - result["mae_ensemble_hu"]
    assert result["cost_hu"] == pytest.approx(cost_hu, abs=0.011)
    assert result["parity"]["onnx"]["max_difference_hu"] <= 1


@pytest.mark.slow
def test_the_page_for_people_shows_the_students_cost_and_is_silent_without_one(taught):
    folder, _ = taught
    result = json.loads((folder / "card.json").read_text())["distilled"]
    page = (folder / "card.html").read_text()
    assert f">{result['cost_hu']:+.2f}</td>" in page
    assert f"of {result['training_cases']} training cases in {result['steps']} steps" in page
    card = json.loads((folder / "card.json").read_text())
    del card["distilled"]
    assert "student" not in render_card(card)


@pytest.mark.slow
def test_case_names_stay_in_the_pipeline_with_a_student_too(taught):
    for file in (path for path in taught[0].rglob("*") if path.is_file()):
        for name in (b"P1_mr", b"P2_mr", b"P3_mr"):
            assert name not in file.read_bytes(), file.name


@pytest.mark.slow
def test_a_kill_in_the_middle_of_the_students_training_changes_no_byte(
    taught, tmp_path, monkeypatch
):
    from synthct.tasks.training import loop

    folder, artefacts = taught
    saved = loop.save_checkpoint

    def stop_after_saving(scratch, state):
        saved(scratch, state)
        if state["progress"]["step"] >= 30:
            raise KeyboardInterrupt

    monkeypatch.setattr(loop, "save_checkpoint", stop_after_saving)
    with pytest.raises(KeyboardInterrupt):
        with_student(tmp_path / "killed", artefacts, tmp_path / "scratch")
    monkeypatch.undo()
    assert load_checkpoint(tmp_path / "scratch" / "fit")["progress"]["step"] == 30
    again = with_student(tmp_path / "again", artefacts, tmp_path / "scratch")
    assert content_hash(again) == content_hash(folder)


def test_a_student_never_learns_from_a_patient_that_scores_it(artefacts, tmp_path):
    case = artefacts / "registration" / "P3_mr"
    folds = [artefacts / "training" / "mr_fold0"]
    params = ExportParams(distil=DISTIL)
    with pytest.raises(DataError) as caught:
        distil(tmp_path, folds, [case], [case], params, scratch=tmp_path, seed=1)
    assert caught.value.code == "distil-no-cases"
    assert list(tmp_path.glob("*.onnx")) == []


def test_a_student_that_is_not_there_is_named(released):
    with pytest.raises(UsageError) as caught:
        list(open_release(released).graphs(student=True))
    assert caught.value.code == "no-student"
