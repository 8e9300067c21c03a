"""Versions of what computes: part of every key, of DVC's dependencies and of the worker check."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
import yaml

from synthct.data.errors import MachineError, UsageError
from synthct.tasks.chain.table import STAGES, render
from synthct.tasks.pipeline import packages
from synthct.tasks.pipeline.code import packages_imported, stage_packages
from synthct.tasks.pipeline.stage import Unit

ROOT = Path(__file__).resolve().parents[2]


def work(*, out: Path) -> None: ...


def with_version(monkeypatch, **changed):
    before = packages._version
    monkeypatch.setattr(packages, "_version", lambda name: changed.get(name) or before(name))


def test_a_worker_with_another_numpy_publishes_other_bytes_under_the_same_key(monkeypatch):
    unit = Unit("x", work, plugins=("synthct.tasks.registration.case",))
    key, wanted = unit.key(1), packages.unit_versions(unit.modules)
    packages.require_versions(wanted)
    with_version(monkeypatch, numpy="1.26.4")
    monkeypatch.delitem(sys.modules, "numpy")
    assert unit.key(1) != key
    with pytest.raises(MachineError, match=r"numpy is 1\.26\.4 on this worker and") as caught:
        packages.require_versions(wanted)
    assert caught.value.code == "other-packages"


def test_an_upgrade_of_a_package_that_a_unit_never_imports_makes_it_stale(monkeypatch):
    unit = Unit("x", work, plugins=("synthct.tasks.registration.case",))
    key = unit.key(1)
    with_version(monkeypatch, onnxruntime="9.9", jinja2="9.9")
    assert unit.key(1) == key


def test_a_package_that_is_called_but_never_imported_by_us_is_forgotten():
    """pydicom finds gdcm by itself, zarr compresses with numcodecs."""
    assert {"python-gdcm", "pydicom", "numcodecs", "python"} <= set(
        packages.unit_versions(["synthct.tasks.ingestion.patient"])
    )


def test_a_worker_of_another_python_is_taken(monkeypatch):
    with pytest.raises(MachineError, match=r"python is 3\.\d+ on this worker and 2\.7"):
        packages.require_versions({"python": "2.7"})


def test_builds_of_one_version_for_cpu_and_gpu_refuse_each_other(monkeypatch):
    assert "+" not in packages.unit_versions(["synthct.tasks.training.fit"])["torch"]


def test_a_foreign_package_is_neither_in_the_keys_nor_known_to_compute_nothing():
    named = set().union(*(stage_packages(stage.module) for stage in STAGES))
    unknown = named - set(packages.COMPUTING) - packages.OTHERS
    assert not unknown, "say in tasks/pipeline/packages.py whether its version can change a result"


def test_the_imports_of_a_named_plugin_do_not_count():
    assert "monai" not in packages_imported(["synthct.tasks.training.fit"])
    assert "monai" in packages_imported(
        ["synthct.tasks.training.fit", "synthct.tasks.models.networks.me_unet"]
    )


def test_dvc_is_not_told_the_versions_of_a_stage(monkeypatch):
    monkeypatch.chdir(ROOT)
    stages = yaml.safe_load(render(Path()))["stages"]
    told = {name: entry["params"][-1]["versions.yaml"] for name, entry in stages.items()}
    assert {"SimpleITK-SimpleElastix", "numpy", "scipy", "torch"} <= set(told["registration"])
    assert "onnxruntime" in told["export"]
    assert "onnxruntime" not in told["training"]
    written = yaml.safe_load((ROOT / "versions.yaml").read_text())
    assert set().union(*told.values()) <= set(written)


def test_versions_yaml_is_not_what_is_installed(monkeypatch):
    monkeypatch.chdir(ROOT)
    assert not packages.stale_versions(stage.module for stage in STAGES), "run `make dag`"


def test_versions_yaml_and_the_lock_disagree():
    python = f"py{sys.version_info.major}{sys.version_info.minor}"
    lock = (ROOT / "locks" / f"{python}-run.txt").read_text()
    locked = dict(re.findall(r"(?m)^([\w.-]+)==([^\s;+]+)", lock))
    assert locked
    written = yaml.safe_load((ROOT / "versions.yaml").read_text())
    plain = {packages._normalised(name): version for name, version in locked.items()}
    for name, version in written.items():
        if name != "python" and packages._normalised(name) in plain:
            assert plain[packages._normalised(name)] == version, f"{name}: `make setup dag`"


def test_a_stage_under_plain_dvc_repro_runs_with_versions_that_its_lock_does_not_name(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    modules = [stage.module for stage in STAGES]
    packages.write_versions(modules)
    packages.require_recorded("synthct.tasks.registration.run")
    text = (tmp_path / "versions.yaml").read_text()
    (tmp_path / "versions.yaml").write_text(re.sub(r"(?m)^scipy: .*", "scipy: 0.1", text))
    with pytest.raises(UsageError, match=r"scipy .* is installed, the file records 0\.1") as caught:
        packages.require_recorded("synthct.tasks.registration.run")
    assert caught.value.code == "versions-stale"
    assert packages.stale_versions(modules), "`synthct run` renders it anew"
