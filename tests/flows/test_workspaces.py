import pytest

from synthct.data.errors import UsageError
from synthct.flows.workspace.presets import open_workspace, preset_names
from synthct.tasks.chain.params import load_params


@pytest.fixture
def root(tmp_path):
    (tmp_path / "presets").mkdir()
    (tmp_path / "presets" / "sts.yaml").write_text("dataset: sts\nseed: 7\n")
    (tmp_path / "presets" / "bench.yaml").write_text("dataset: bench\n")
    return tmp_path


def test_no_preset_is_the_demo_in_the_root(root):
    assert str(open_workspace(root, None).workspace) == "."
    assert not (root / "workspaces").exists()


def test_first_use_writes_the_whole_of_the_params(root):
    opened = open_workspace(root, "sts")
    text = (root / opened.workspace / "params.yaml").read_text()
    params = load_params(root / opened.workspace / "params.yaml")
    assert (params.dataset, params.seed) == ("sts", 7)
    for section in ("ingestion:", "registration:", "training:", "evaluation:", "report:"):
        assert section in text
    assert "created workspaces/sts" in opened.notes[0]


def test_second_use_says_nothing_when_nothing_changed(root):
    open_workspace(root, "sts")
    assert open_workspace(root, "sts").notes == ()


def test_edited_params_are_used_and_never_overwritten(root):
    file = root / open_workspace(root, "sts").workspace / "params.yaml"
    edited = file.read_text().replace("seed: 7", "seed: 8")
    file.write_text(edited)
    (note,) = open_workspace(root, "sts").notes
    assert "seed (8, preset 7)" in note
    assert "the workspace's file is used" in note
    assert file.read_text() == edited


def test_changed_preset_is_reported_and_not_followed(root):
    open_workspace(root, "sts")
    (root / "presets" / "sts.yaml").write_text("dataset: sts\nseed: 9\n")
    opened = open_workspace(root, "sts")
    assert "seed (7, preset 9)" in opened.notes[0]
    assert load_params(root / opened.workspace / "params.yaml").seed == 7


def test_a_study_that_gained_arms_is_reported_in_a_line_that_names_its_source(root):
    arm = "    - {name: NAME, regularizers: [{name: cutout, weight: 0.5}]}\n"
    arms = [arm.replace("NAME", f"a{number}") for number in range(9)]
    study = "dataset: sts\nstudy:\n  source: mr\n  arms:\n"
    (root / "presets" / "sts.yaml").write_text(study + "".join(arms[:8]))
    open_workspace(root, "sts")
    (root / "presets" / "sts.yaml").write_text(study + "".join(arms))
    (note,) = open_workspace(root, "sts").notes
    assert "differs from presets/sts.yaml: study.arms;" in note
    assert len(note) < 300


def test_workspace_outlives_its_preset(root):
    open_workspace(root, "sts")
    (root / "presets" / "sts.yaml").unlink()
    assert "no longer exists" in open_workspace(root, "sts").notes[0]


def test_unknown_preset_is_met_with_the_nearest_and_all_names(root):
    assert preset_names(root) == ["bench", "sts"]
    with pytest.raises(UsageError, match=r"did you mean 'bench'\? presets: bench, sts"):
        open_workspace(root, "bnech")
    assert not (root / "workspaces").exists()


def test_preset_cannot_name_a_folder_elsewhere(root):
    with pytest.raises(UsageError):
        open_workspace(root, "../presets/sts")
    assert not (root / "workspaces").exists()


def test_faulty_preset_makes_no_workspace(root):
    (root / "presets" / "bad.yaml").write_text("dataset: x\nsede: 1\n")
    with pytest.raises(UsageError, match="did you mean 'seed'"):
        open_workspace(root, "bad")
    assert not (root / "workspaces").exists()
