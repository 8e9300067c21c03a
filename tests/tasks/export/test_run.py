from __future__ import annotations

import json

import pytest

from synthct.data.files import content_hash
from synthct.data.layout import Layout
from synthct.data.store.result_cache import open_result_cache
from synthct.tasks.export import run as stage
from synthct.tasks.export.params import ExportParams, GateParams
from synthct.tasks.models.description import Harmonise
from synthct.tasks.pipeline import fanout
from synthct.tasks.pipeline.stage import StageContext
from synthct.tasks.prediction.release import open_release


@pytest.fixture
def context(artefacts, monkeypatch):
    monkeypatch.setattr(Layout, "artefact", lambda self, name: artefacts / name)
    return StageContext(
        layout=Layout(artefacts.parent),
        seed=1,
        units=open_result_cache(),
        fan_out=fanout.here,
        methods={"training": "Trained."},
    )


def test_the_stage_releases_what_passed_and_repeats_its_bytes(context, artefacts):
    stage.run(context, ExportParams())
    opened = open_release(artefacts / "export" / "mr")
    assert opened.card["scores"]
    assert opened.card["methods"] == {"training": "Trained."}
    assert opened.card["provenance"]["inputs"]["training"]["mr_fold0"]["unit_key"] == "abc"
    assert json.loads((artefacts / "export" / "excluded.json").read_text()) == []
    before = content_hash(artefacts / "export")
    stage.run(context, ExportParams())
    assert content_hash(artefacts / "export") == before
    stage.run(context, ExportParams(gate=GateParams(max_ratio=0.5)))  # a stricter gate takes back
    assert [path.name for path in (artefacts / "export/mr").iterdir()] == ["refused.json"]


def test_a_model_worse_than_the_look_up_is_refused_and_listed(context, artefacts, rescore):
    rescore(model_hu=130.0, lookup_hu=100.0)
    stage.run(context, ExportParams())
    assert [path.name for path in (artefacts / "export/mr").iterdir()] == ["refused.json"]
    (row,) = json.loads((artefacts / "export/excluded.json").read_text())
    assert (row["unit"], row["code"]) == ("mr", "gate-score")
    assert "131.0 HU, that of the best baseline (lookup) 101.0 HU" in row["problem"]
    assert row["remedy"]


def test_a_demonstration_of_a_refused_model_is_marked_everywhere(context, artefacts, rescore):
    failed = {f"P{n}_mr": ["lost_structure"] for n in range(12)}
    rescore(model_hu=60.0, lookup_hu=100.0, failed=failed)
    stage.run(context, ExportParams(gate=GateParams(when_refused="demonstration")))
    opened = open_release(artefacts / "export" / "mr")
    assert opened.card["demonstration_only"].startswith("12 of 12 unseen cases are suspect")
    assert opened.card["gate"]["passed"] is False
    assert "the release gate refused this model: 12 of 12" in opened.demonstration[0]
    page = (artefacts / "export" / "mr" / "card.html").read_text()
    assert "For demonstration only. The release gate refused this model: 12 of 12" in page
    rescore(model_hu=60.0, lookup_hu=100.0)  # and a model that passes is a release
    stage.run(context, ExportParams(gate=GateParams(when_refused="demonstration")))
    assert open_release(artefacts / "export" / "mr").demonstration == []


def test_an_export_is_not_made_anew_when_its_source_scaling_changes(
    context, artefacts, describe, monkeypatch
):
    model = describe(0)
    scaling = model.source_scaling.model_copy(update={"harmonise": Harmonise(name="quantile")})
    model.model_copy(update={"source_scaling": scaling}).save(
        artefacts / "training/mr_fold0/model.json"
    )
    made = []
    monkeypatch.setattr(stage, "run_units", lambda *args, **_: made.extend(args[3]) or [])
    monkeypatch.setattr(stage, "_list_refused", lambda *_: None)
    stage.run(context, ExportParams())
    assert {name.rsplit(".", 1)[-1] for name in made[0].plugins} >= {"moments", "quantile"}
