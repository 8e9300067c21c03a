"""The rendered DAG is the table's."""

from __future__ import annotations

import os
from pathlib import Path

import yaml

from synthct.tasks.chain.params import layout_of, load_params
from synthct.tasks.chain.table import STAGES, active_stages, render

ROOT = Path(__file__).resolve().parents[2]


def test_dvc_yaml_is_not_what_the_table_says(monkeypatch):
    monkeypatch.chdir(ROOT)
    assert (ROOT / "dvc.yaml").read_text() == render(Path()), "run `make dag`"


def test_a_stage_reads_an_out_that_no_earlier_stage_writes(monkeypatch):
    monkeypatch.chdir(ROOT)
    params = load_params(Path("params.yaml"))
    layout = layout_of(Path(), params)
    written = set()
    for stage in STAGES:
        reads = [layout.raw if name == "raw" else layout.artefact(name) for name in stage.reads]
        assert set(reads) <= written, stage.name
        written.add(stage.outs(layout))


def test_every_stage_depends_on_its_own_code_and_not_on_the_orchestrator(monkeypatch):
    monkeypatch.chdir(ROOT)
    stages = yaml.safe_load(render(Path()))["stages"]
    for name, entry in stages.items():
        assert f"tasks/{name}/run.py" in entry["deps"]
        assert not [dep for dep in entry["deps"] if dep.startswith("flows")]
        assert all((ROOT / dep).exists() for dep in entry["deps"] if dep.startswith("tasks"))


def test_a_page_quotes_a_methods_sentence_that_has_changed(monkeypatch):
    monkeypatch.chdir(ROOT)
    stages = yaml.safe_load(render(Path()))["stages"]
    active = active_stages(load_params(Path("params.yaml")))
    for name, before in (("export", 5), ("report", 6)):
        quoted = [stage.run_file.as_posix() for stage in active[:before]]
        assert set(quoted) <= set(stages[name]["deps"])


def test_each_stage_says_its_methods_in_one_sentence():
    for stage in STAGES:
        sentence = stage.methods_sentence()
        assert sentence.endswith("."), stage.name
        assert len(sentence) > 30, stage.name


def test_training_does_not_wait_for_pretraining_or_waits_for_one_that_is_off(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    workspace = Path(os.path.relpath(tmp_path, ROOT))
    for section, there in (("", False), ("pretraining: {}\n", True)):
        (tmp_path / "params.yaml").write_text(f"dataset: some\n{section}")
        stages = yaml.safe_load(render(workspace))["stages"]
        assert ("pretraining" in stages) == there
        for name in ("training", "report"):
            reads = [dep for dep in stages[name]["deps"] if dep.endswith("artefacts/pretraining")]
            assert bool(reads) == there
        assert ("pretraining" in str(stages["report"]["params"])) == there
