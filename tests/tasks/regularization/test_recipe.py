"""The page on adding a regularizer does what it says, in a stranger's installed package."""

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
def strangers_site(tmp_path):
    """A folder that holds what pip would have installed, from nothing but the page."""
    member, _ = blocks("python")
    (text,) = blocks("toml")
    ((name, target),) = tomllib.loads(text)["project"]["entry-points"].popitem()[1].items()
    module = target.partition(":")[0]
    site = tmp_path / "site"
    file = site / (module.replace(".", "/") + ".py")
    file.parent.mkdir(parents=True)
    (file.parent / "__init__.py").touch()
    file.write_text(member)
    facts = site / f"{module.partition('.')[0]}-1.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: dose-regularizers\nVersion: 1.0\n"
    )
    (facts / "entry_points.txt").write_text(f"[synthct.regularizers]\n{name} = {target}\n")
    return site


@pytest.fixture
def strangers_tests(tmp_path):
    """The page's test, and its lines of params, beside the fixtures of this folder."""
    _, test = blocks("python")
    (params,) = blocks("yaml")
    folder = tmp_path / "tests"
    folder.mkdir()
    shutil.copy(Path(__file__).with_name("conftest.py"), folder)
    (folder / "test_mean_error.py").write_text(test)
    (folder / "test_switched_on.py").write_text(SWITCHED_ON.replace("{text}", params))
    return folder


def test_the_pages_regularizer_keeps_the_promises_as_a_strangers(strangers_site, strangers_tests):
    promises = Path(__file__).with_name("test_promises.py")
    chosen = [
        "-k",
        "mean_error or switched_on",
        "-o",
        f"pythonpath={ROOT / 'src'} {ROOT} {strangers_site}",
    ]
    quiet = ["-q", "-p", "no:cacheprovider", "-c", str(ROOT / "pyproject.toml"), "--color=no"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *quiet, *chosen, str(strangers_tests), str(promises)],
        cwd=ROOT,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    passed = int(re.search(r"(\d+) passed", done.stdout).group(1))
    assert passed >= 4 + 7, done.stdout  # the page's own and the promises
