"""The code on docs/how-to/register.md runs, at a small size, and its pictures exist."""

import importlib.util
import re

import pytest

from tests.conftest import ROOT


@pytest.fixture(scope="module")
def maker():
    spec = importlib.util.spec_from_file_location(
        "make_registration", ROOT / "docs/make_registration.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_the_code_of_the_page_runs_and_its_figures_hold(maker, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    names = maker.run_page(VOXEL_MM=8.0, PICTURES=tmp_path)
    assert names["done"].judgement.verdict != "fail"
    picture = (tmp_path / "registration_thorax.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert names["before_after_png"](names["done"]) == picture


HOW, WHY = ROOT / "docs/how-to/register.md", ROOT / "docs/explanation/registration.md"


def test_every_picture_and_test_that_the_pages_name_is_there():
    named = [
        (page.parent / path).resolve()
        for page in (HOW, WHY)
        for path in re.findall(r"\]\((\.\./pictures/[^)]+)\)", page.read_text())
    ]
    assert len(named) == 2
    assert all(path.is_file() for path in named)
    tests = re.findall(r"tests/\S+\.py", HOW.read_text() + WHY.read_text())
    assert all((ROOT / path).is_file() for path in tests)


def test_the_page_tells_the_thresholds_that_the_gate_has():
    from synthct.tasks.registration.gate.params import GateParams

    gate, text = GateParams(), WHY.read_text()
    row = next(line for line in text.splitlines() if line.startswith("| SD of the log-Jacobian"))
    assert [float(n) for n in re.findall(r"[\d.]+(?= \|)", row)] == [
        gate.max_sd_log_jacobian, gate.reject_sd_log_jacobian,
    ]  # fmt: skip
    row = next(line for line in text.splitlines() if line.startswith("| mean strain of bone"))
    assert [float(n) for n in re.findall(r"[\d.]+(?= \|)", row)] == [
        gate.max_bone_strain, gate.reject_bone_strain,
    ]  # fmt: skip
