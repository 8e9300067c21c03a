"""Pruning keeps the units that any lock names, and removes nothing where locks cannot be read."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time

import numpy as np
import pytest
import yaml

from synthct.data.errors import UsageError
from synthct.data.files import RECEIPT
from synthct.data.layout import Layout
from synthct.data.store.objects import Objects
from synthct.data.store.offload import move_arrays
from synthct.data.store.result_cache import LocalResults, RemoteResults
from synthct.data.store.volumes import write_volume
from synthct.data.volume import Grid, Modality, Volume
from synthct.flows.upkeep.pruning import named_units, prunable, prune
from synthct.flows.upkeep.pruning_arrays import prunable_objects, prune_objects
from synthct.tasks.pipeline.fanout import here
from synthct.tasks.pipeline.stage import StageContext, Unit, build_out, run_units

DAY_S = 86_400.0


def written(*, out):
    (out / "x").write_text("x")


def md5(text):
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


class Repository:
    def __init__(self, root):
        self.root = root
        self.units = LocalResults(root / "units")
        self.units.root.mkdir(parents=True)
        (root / ".dvc").mkdir()
        (root / ".dvc" / "config").write_text("[core]\n    analytics = false\n")
        (root / ".gitignore").write_text("units\nmade\nother\ndata\n/.dvc/cache\n/.dvc/tmp\n")
        self.git("init", "-q", "-b", "main")

    def git(self, *arguments):
        identity = ("-c", "user.name=t", "-c", "user.email=t@example.org")
        subprocess.run(["git", *identity, *arguments], cwd=self.root, check=True)

    def unit(self, letter, age_s=2 * DAY_S):
        """A finished unit; its key."""
        key = letter * 64
        made = self.root / "made" / letter
        made.mkdir(parents=True)
        (made / "result.txt").write_text(letter)
        self.units.publish(key, made)
        then = time.time() - age_s
        os.utime(self.units.root / key[:2] / key / "content.sha256", (then, then))
        return key

    def cached(self, text, suffix=""):
        """An object of the DVC cache; its hash."""
        name = md5(text)
        path = self.root / ".dvc" / "cache" / "files" / "md5" / name[:2] / f"{name[2:]}{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return name + suffix

    def lock(self, *keys, place="units.json"):
        """Text of a lock whose out was made of these units."""
        manifest = json.dumps({str(n): {"key": key, "content": "x"} for n, key in enumerate(keys)})
        listing = json.dumps([{"md5": self.cached(manifest), "relpath": place}])
        outs = [{"path": "out", "hash": "md5", "md5": self.cached(listing, ".dir")}]
        return yaml.safe_dump({"schema": "2.0", "stages": {"a": {"outs": outs}}})

    def commit(self, text, path="dvc.lock"):
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text(text)
        self.git("add", "-A")
        self.git("commit", "-qm", "results")


@pytest.fixture
def repository(tmp_path):
    (tmp_path / "r").mkdir()
    return Repository(tmp_path / "r")


def test_a_unit_that_a_branch_a_tag_or_a_worktree_names_is_removed(repository):
    names = "abcdef0"
    here, branch, tag, tree, workspace, out, nobody = (repository.unit(each) for each in names)
    repository.commit(repository.lock(here))
    repository.git("checkout", "-qb", "other-branch")
    repository.commit(repository.lock(branch, place="predicted/units.json"))
    repository.git("checkout", "-qb", "short-lived", "main")
    repository.commit(repository.lock(tag))
    repository.git("tag", "v1")
    repository.git("checkout", "-q", "main")
    repository.git("branch", "-qD", "short-lived")
    repository.git("worktree", "add", "-q", "--detach", "other")
    (repository.root / "other" / "dvc.lock").write_text(repository.lock(tree))  # not committed
    (repository.root / "workspaces" / "sts").mkdir(parents=True)
    (repository.root / "workspaces/sts/dvc.lock").write_text(repository.lock(workspace))
    manifest = repository.root / "data/artefacts/training/units.json"
    manifest.parent.mkdir(parents=True)
    manifest.write_text(json.dumps({"x": {"key": out, "content": "x"}}))
    found = prunable(repository.root, repository.units)
    assert found.keys == (nobody,)
    assert found.kept == 6
    assert prune(repository.root, repository.units, found.keys) == 1
    assert set(repository.units.keys()) == {here, branch, tag, tree, workspace, out}


def test_a_unit_that_only_an_older_stash_names_is_removed(repository):
    first, second, nobody = (repository.unit(each) for each in "abc")
    repository.commit(repository.lock())
    for each in (first, second):
        (repository.root / "dvc.lock").write_text(repository.lock(each))
        repository.git("stash")
    assert prunable(repository.root, repository.units).keys == (nobody,)


def test_a_unit_of_a_run_that_is_on_is_removed(repository):
    young, old = repository.unit("a", age_s=60.0), repository.unit("b")
    repository.commit(repository.lock())
    assert prunable(repository.root, repository.units).keys == (old,)
    assert young not in named_units(repository.root)


def test_units_go_while_a_run_that_counts_on_them_is_on(repository):
    """A run resumed after two days: no lock names its units, and they are older than a day."""
    key = repository.unit("a")
    repository.commit(repository.lock())
    assert prunable(repository.root, repository.units).keys == (key,)
    script = (
        "import sys\nfrom pathlib import Path\n"
        "from synthct.data.store.cache_lock import shared_lock\n"
        "with shared_lock(Path(sys.argv[1])):\n    print(flush=True)\n    sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", script, str(repository.units.root)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as run:
        run.stdout.readline()
        with pytest.raises(UsageError, match="a run is using the result cache") as caught:
            prune(repository.root, repository.units, [key])
        assert caught.value.code == "run-is-on"
        assert list(repository.units.keys()) == [key]
        run.kill()  # a killed run holds nothing
        run.wait()
    assert prune(repository.root, repository.units, [key]) == 1


def test_a_unit_that_a_run_took_up_while_a_person_was_asked_goes(repository):
    key = repository.unit("a")
    repository.commit(repository.lock())
    judged = prunable(repository.root, repository.units).keys
    repository.units.touch(key)
    assert prune(repository.root, repository.units, judged) == 0
    assert list(repository.units.keys()) == [key]


def test_a_stage_that_counts_on_an_old_unit_leaves_it_to_be_pruned(
    repository, monkeypatch, tmp_path
):
    monkeypatch.chdir(tmp_path)
    context = StageContext(Layout(), 1, repository.units, here)
    unit = Unit("x", written)
    for _ in range(2):
        with build_out(context, "toy") as out:
            run_units(context, "toy", out, [unit])
        age_s = repository.units.age_s(unit.key(1))
        assert age_s < 60
        then = time.time() - 2 * DAY_S
        os.utime(repository.units._folder(unit.key(1)) / "content.sha256", (then, then))


def test_half_built_and_broken_units_stay_for_ever(repository):
    root = repository.units.root
    repository.commit(repository.lock())
    for name in (".building.old", ".building.young", ".broken/x"):
        (root / name).mkdir(parents=True)
        if "young" not in name:
            os.utime(root / name, (1e9, 1e9))
    prune(repository.root, repository.units, [])
    assert [path.name for path in root.glob(".building.*")] == [".building.young"]
    assert not list((root / ".broken").iterdir())


def test_what_a_lock_names_is_guessed_when_its_manifest_is_not_here(repository):
    key = repository.unit("a")
    repository.commit(repository.lock(key))
    for file in (repository.root / ".dvc" / "cache").rglob("*.dir"):
        file.unlink()
    with pytest.raises(UsageError, match="nothing was removed"):
        prunable(repository.root, repository.units)
    assert list(repository.units.keys()) == [key]


def receipt(folder, url, value):
    """A stored array of one value, its voxels moved to ``url``; the text of its receipt."""
    grid = Grid((2, 3, 4), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0))
    array = np.full(grid.shape, value, np.int16)
    write_volume(folder / "ct.zarr", Volume(array, grid, Modality.CT))
    move_arrays(folder, url)
    return (folder / "ct.zarr" / RECEIPT).read_text()


@pytest.mark.parametrize("store", ["folder", pytest.param("s3", marks=pytest.mark.slow)])
def test_voxels_that_a_unit_a_branch_or_a_worktree_names_are_removed(
    repository, tmp_path, store, request
):
    url = str(tmp_path / "objects")
    if store == "s3":
        url = f"{request.getfixturevalue('s3')}/{tmp_path.name}/arrays"
        repository.units = RemoteResults(f"{request.getfixturevalue('s3')}/{tmp_path.name}/units")
    receipt(tmp_path / "unit", url, 1)
    repository.units.publish("a" * 64, tmp_path / "unit")
    branch = repository.cached(receipt(tmp_path / "branch", url, 2))
    listing = repository.cached(
        json.dumps([{"md5": branch, "relpath": f"x/ct.zarr/{RECEIPT}"}]), ".dir"
    )
    outs = [{"path": "out", "hash": "md5", "md5": listing}]
    repository.commit(yaml.safe_dump({"schema": "2.0", "stages": {"a": {"outs": outs}}}))
    repository.git("checkout", "-qb", "elsewhere")
    repository.commit(repository.lock())
    receipt(repository.root / "data/artefacts/registration/x", url, 3)
    receipt(tmp_path / "nowhere", url, 4)
    assert prunable_objects(repository.root, repository.units, url).names == (), "all are young"
    found = prunable_objects(repository.root, repository.units, url, min_age_s=-5.0)
    assert (len(found.names), found.kept) == (1, 3)
    assert found.size > 0
    assert prune_objects(url, found.names) == 0, "written again since: young"
    assert prune_objects(url, found.names, min_age_s=-5.0) == 1
    gone = json.loads((tmp_path / "nowhere/ct.zarr" / RECEIPT).read_text())["objects"]
    assert {each["object"] for each in gone.values()} == set(found.names)
    assert len(Objects(url).names()) == 3


def test_voxels_are_removed_though_a_lock_cannot_be_read(repository, tmp_path):
    receipt(tmp_path / "unit", str(tmp_path / "objects"), 1)
    repository.commit(repository.lock(repository.unit("a")))
    for file in (repository.root / ".dvc" / "cache").rglob("*.dir"):
        file.unlink()
    with pytest.raises(UsageError, match="nothing was removed"):
        prunable_objects(repository.root, repository.units, str(tmp_path / "objects"), -5.0)
