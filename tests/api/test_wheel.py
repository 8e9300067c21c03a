"""What ``pip install synthct`` puts on a machine: one name, whole, without anybody's scans."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from email import message_from_bytes
from pathlib import Path

import pytest

from synthct.data.readers import read_scan
from synthct.data.volume import Modality
from tests.packaging import ROOT, SECRET, clean_environment, make_environment, site_packages

PACKAGE_FOLDERS = ("data", "tasks", "flows")
SUFFIXES = {".py", ".j2", ".css", ".js", ".typed"}


def of_the_checkout() -> set[str]:
    """Names below ``synthct/`` of all code and page parts of the rooms and of the API."""
    files = {
        path.relative_to(ROOT).as_posix()
        for room in PACKAGE_FOLDERS
        for path in (ROOT / room).rglob("*")
        if (path.suffix in SUFFIXES or path.name == "evidence.csv")  # of the advice on plug-ins
        and not {"raw", "artefacts"} & set(path.relative_to(ROOT).parts[:2])
    }
    pages = ROOT / "flows" / "cli" / "pages"  # of `synthct help`; its folders are links to docs/
    files |= {
        page.relative_to(ROOT).as_posix()
        for folder in pages.iterdir()
        for page in folder.glob("*.md")
    }
    package = ROOT / "src" / "synthct"
    own = [*package.glob("*"), *(package / "api").glob("*")]
    return files | {p.relative_to(package).as_posix() for p in own if p.suffix in SUFFIXES}


def test_the_wheel_holds_all_code_and_page_parts_and_nothing_else(distribution):
    with zipfile.ZipFile(distribution[1]) as wheel:
        names = [name for name in wheel.namelist() if ".dist-info/" not in name]
    assert {name.partition("/")[0] for name in names} == {"synthct"}
    assert {name.partition("/")[2] for name in names} == of_the_checkout()
    assert sum(name.endswith((".j2", ".css", ".js")) for name in names) >= 5


def test_no_scan_or_artefact_of_the_checkout_enters_sdist_or_wheel(distribution):
    sdist, wheel = distribution
    with tarfile.open(sdist) as archive:
        assert not [member.name for member in archive if member.issym() or member.islnk()]
        contents = {
            member.name: archive.extractfile(member).read() for member in archive if member.isfile()
        }
    with zipfile.ZipFile(wheel) as archive:
        contents |= {name: archive.read(name) for name in archive.namelist()}
    assert [name for name, content in contents.items() if SECRET.encode() in content] == []


def test_an_index_knows_every_python_that_the_package_is_installed_on(distribution):
    with zipfile.ZipFile(distribution[1]) as wheel:
        (name,) = (n for n in wheel.namelist() if n.endswith(".dist-info/METADATA"))
        told = message_from_bytes(wheel.read(name))
    series = [c.rpartition(" :: ")[2] for c in told.get_all("Classifier") if ":: Python :: 3." in c]
    minors = [int(one.removeprefix("3.")) for one in series]
    wanted = set(told["Requires-Python"].split(","))
    assert wanted == {f">=3.{min(minors)}", f"<3.{max(minors) + 1}"}
    assert minors == list(range(min(minors), max(minors) + 1))
    assert "Typing :: Typed" in told.get_all("Classifier")
    assert told["License-Expression"]


@pytest.fixture(scope="module")
def bare(distribution, tmp_path_factory) -> Path:
    """An environment with the wheel; what it depends on is seen, our checkout is not."""
    folder = tmp_path_factory.mktemp("bare") / "venv"
    python = make_environment(folder, shared=True)
    before = {path.name for path in site_packages(folder).iterdir()}
    command = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet"]
    subprocess.run(
        [*command, "--no-deps", "--no-index", str(distribution[1])],
        check=True, env=clean_environment(), cwd=folder.parent, capture_output=True,
    )  # fmt: skip
    added = {path.name for path in site_packages(folder).iterdir()} - before
    assert {name for name in added if not name.endswith(".dist-info")} == {"synthct"}
    return folder


def answer(bare, *command, cwd) -> str:
    done = subprocess.run(
        [str(bare / "bin" / command[0]), *map(str, command[1:])],
        cwd=cwd, env=clean_environment(), capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_installed_package_knows_its_version_and_lies_in_the_environment(bare, tmp_path):
    script = "import synthct; print(synthct.__version__); print(synthct.__file__)"
    version, file = answer(bare, "python", "-c", script, cwd=tmp_path).splitlines()
    told = answer(bare, "synthct", "--version", cwd=tmp_path).splitlines()
    assert told[0] == f"synthct {version}"
    assert "Exit codes" in answer(bare, "synthct", "help", "exit-codes", cwd=tmp_path)
    assert Path(file).is_relative_to(bare)
    assert f"synthct-{version}.dist-info" in {p.name for p in site_packages(bare).iterdir()}


@pytest.mark.parametrize("name", PACKAGE_FOLDERS)
def test_no_folder_of_the_checkout_becomes_a_top_level_name(bare, tmp_path, name):
    script = f"import importlib.util as u; s = u.find_spec({name!r}); print(s and s.origin)"
    found = answer(bare, "python", "-c", script, cwd=tmp_path)
    assert found == "None" or not Path(found).is_relative_to(bare)


def test_the_installed_command_predicts_from_a_release(bare, scene):
    options = ["--model", "release", "--input", "mr.nii.gz", "--out", "sct.mha", "--no-tta"]
    told = answer(bare, "synthct", "predict", *options, cwd=scene)
    assert told.startswith("sct.mha: synthetic CT [HU]")
    made = read_scan(scene / "sct.mha", Modality.CT)
    assert made.grid.is_close(read_scan(scene / "mr.nii.gz", Modality.MR).grid)


def test_the_installed_package_finds_its_plug_ins_and_templates(bare, tmp_path):
    script = (
        "import synthct\nfrom synthct.tasks.figures.page import *\n"
        "print(len(synthct.GUARDS.names()), len(synthct.METHODS.names()))"
    )
    guards, methods = answer(bare, "python", "-c", script, cwd=tmp_path).split()
    assert int(guards) > 10
    assert int(methods) > 5
