import os
from pathlib import Path

import pytest

from synthct.data.errors import UsageError
from synthct.flows.workspace.project import find_root, open_project


@pytest.fixture
def root(tmp_path):
    (tmp_path / ".dvc").mkdir()
    (tmp_path / "params.yaml").write_text("dataset: demo\ncohort: {}\n")
    workspace = tmp_path / "workspaces" / "sts"
    workspace.mkdir(parents=True)
    (workspace / "params.yaml").write_text("dataset: sts\n")
    return tmp_path


def test_demo_and_workspace_never_share_an_out_or_a_target(root):
    (root / "data" / "raw" / "sts").mkdir(parents=True)
    demo, sts = open_project(root, Path()), open_project(root, Path("workspaces/sts"))
    assert (demo.name, sts.name) == ("demo", "sts")
    assert demo.stages[0].target == "cohort"
    assert sts.stages[0].target == "workspaces/sts/dvc.yaml:ingestion"  # real scans: no cohort
    assert not {stage.out for stage in demo.stages} & {stage.out for stage in sts.stages}
    assert not {stage.target for stage in demo.stages} & {stage.target for stage in sts.stages}


def test_missing_scans_are_reported_before_anything_starts(root):
    with pytest.raises(UsageError, match=r"synthct ingest SRC... --dataset sts"):
        open_project(root, Path("workspaces/sts"))
    (root / "data" / "raw").mkdir(parents=True)
    (root / "data" / "raw" / "sts.dvc").touch()
    with pytest.raises(UsageError, match=r"dvc pull data/raw/sts.dvc"):
        open_project(root, Path("workspaces/sts"))


def test_chain_up_to_a_stage_holds_it_and_all_before_it(root):
    demo = open_project(root, Path())
    names = [stage.name for stage in demo.until("registration").stages]
    assert names == ["cohort", "ingestion", "registration"]
    assert demo.until(None) is demo
    with pytest.raises(UsageError, match="stages: cohort, ingestion"):
        demo.until("trainig")


def test_checkout_is_found_from_any_folder_in_it(root):
    assert find_root(root / "workspaces" / "sts") == root


def test_folder_outside_a_checkout_is_a_usage_fault(tmp_path):
    with pytest.raises(UsageError, match="cd into the checkout"):
        find_root(tmp_path)


def test_no_child_calls_home_and_all_use_this_python(root):
    told = open_project(root, Path()).environment()
    assert told["DVC_NO_ANALYTICS"] == told["DO_NOT_TRACK"] == "1"
    assert told["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"
    assert (Path(told["PATH"].split(os.pathsep)[0]) / "python").exists()
    assert told["PYTHONPATH"] == str(root / "src")


def test_ingested_scans_are_never_replaced_by_digital_patients(root):
    raw = root / "data" / "raw" / "mine"
    raw.mkdir(parents=True)
    (raw / "dataset.json").write_text('{"dataset": "mine", "synthetic": false}')
    (root / "params.yaml").write_text("dataset: mine\ncohort: {}\n")
    project = open_project(root, Path())
    with pytest.raises(UsageError, match="holds scans that were ingested") as caught:
        project.check(project.stages[:1])
    assert "cohort: null" in caught.value.remedy
    (raw / "dataset.json").unlink()
    (raw / "scan.mha").touch()
    with pytest.raises(UsageError, match="files without a dataset"):
        project.check(project.stages[:1])
    (raw / "dataset.json").write_text('{"dataset": "mine", "synthetic": true}')
    project.check(project.stages[:1])  # its own digital patients are drawn again


def test_a_limit_of_a_guard_that_does_not_exist_is_not_ignored(root):
    text = """dataset: demo
cohort: {}
ingestion: {guards: {slice_jmp: {}}}
evaluation:
  checks: [identity, offset, bone_range, lost_structure, copied, mask_cover, mask_air]
  check_options: {detail: {least: 0.5}}
  metrics: [mae]
"""
    (root / "params.yaml").write_text(text)
    project = open_project(root, Path())
    with pytest.raises(UsageError) as caught:
        project.check(tuple(s for s in project.stages if s.name == "evaluation"))
    for words in ("did you mean 'slice_jump'?", "'detail' is not used", "is called 'mae'"):
        assert words in caught.value.problem
