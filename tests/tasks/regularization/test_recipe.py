"""The code on the page "Add a regularizer" works, in a third-party package that is installed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PAGE = ROOT / "docs" / "how-to" / "add-a-regularizer.md"

SWITCHED_ON = '''
from synthct.tasks.chain.params import parse_params
from synthct.tasks.training.check import check
from synthct.tasks.training.plugins import build_composition, plugin_modules


def test_switched_on():
    training = parse_params("""dataset: demo\n{text}""", where="params.yaml").training
    check(training)
    members = build_composition(training).members
    assert [member.label for member in members] == ["mean_error", "norm_loss"]
    assert members[0].regularizer.tolerance == 0.002
    assert "dose_regularizers.mean_error" in plugin_modules(training)
'''


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)


@pytest.fixture
def third_party_site(tmp_path):
    """A folder with the files that pip would install, made from the page only."""
    member, _ = blocks("python")
    (text,) = blocks("toml")
    ((name, target),) = tomllib.loads(text)["project"]["entry-points"].popitem()[1].items()
    module = target.partition(":")[0]
    site = tmp_path / "site"
    file = site / (module.replace(".", "/") + ".py")
    file.parent.mkdir(parents=True)
    (file.parent / "__init__.py").touch()
    file.write_text(member)
    metadata = site / f"{module.partition('.')[0]}-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: dose-regularizers\nVersion: 1.0\n"
    )
    (metadata / "entry_points.txt").write_text(f"[synthct.regularizers]\n{name} = {target}\n")
    return site


@pytest.fixture
def third_party_tests(tmp_path):
    """The test and the params on the page, with the fixtures of this folder."""
    _, test = blocks("python")
    (params,) = blocks("yaml")
    folder = tmp_path / "tests"
    folder.mkdir()
    shutil.copy(Path(__file__).with_name("conftest.py"), folder)
    (folder / "test_mean_error.py").write_text(test)
    (folder / "test_switched_on.py").write_text(SWITCHED_ON.replace("{text}", params))
    return folder


@pytest.mark.slow
def test_the_regularizer_on_the_page_passes_the_shared_tests_in_a_third_party_package(
    third_party_site, third_party_tests
):
    shared = Path(__file__).with_name("test_promises.py")
    chosen = [
        "-k",
        "mean_error or switched_on",
        "-o",
        f"pythonpath={ROOT / 'src'} {ROOT} {third_party_site}",
    ]
    quiet = ["-q", "-p", "no:cacheprovider", "-c", str(ROOT / "pyproject.toml"), "--color=no"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *quiet, *chosen, str(third_party_tests), str(shared)],
        cwd=ROOT,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    passed = int(re.search(r"(\d+) passed", done.stdout).group(1))
    assert passed >= 4 + 7, done.stdout  # those on the page and the shared ones
