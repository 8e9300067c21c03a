import os
import re
import tomllib

import pytest
from packaging.requirements import Requirement

from synthct.flows.clusters.authority import make_authority
from synthct.flows.upkeep.doctor.check_result import Status, error, healthy, ok, warning
from synthct.flows.upkeep.doctor.hardware import clock
from synthct.flows.upkeep.doctor.packages import itk_wheel, pins, python_version, requirements
from synthct.flows.upkeep.doctor.storage import _certificates, _s3_access
from tests.conftest import ROOT


def test_certificates_end_in_the_night_and_nobody_was_told(tmp_path, monkeypatch):
    assert list(_certificates(tmp_path)) == []
    make_authority(tmp_path / "year")
    (good,) = _certificates(tmp_path / "year")
    assert good.status is Status.OK
    monkeypatch.setattr("synthct.flows.clusters.authority.VALID_DAYS", 20)
    make_authority(tmp_path / "days")
    (short,) = _certificates(tmp_path / "days")
    assert short.status is Status.ERROR
    assert "authority NEWDIR" in short.remedy
    (tmp_path / "days" / "node.pem").write_text("nothing of the kind\n")
    (broken,) = _certificates(tmp_path / "days")
    assert broken.status is Status.ERROR


NOON_S = 1_800_000_000.0


def test_stock_simpleitk_beside_the_elastix_wheel_is_a_fault_with_the_way_out():
    both = {"simpleitk": "2.5.7", "simpleitk-simpleelastix": "3.0.0a1.post183"}
    found = itk_wheel(both)
    assert found.status is Status.ERROR
    assert "pip uninstall -y SimpleITK" in found.remedy


def test_wheel_with_elastix_alone_is_ok():
    found = itk_wheel({"simpleitk-simpleelastix": "3.0.0a1.post183"})
    assert (found.status, found.remedy) == (Status.OK, "")


@pytest.mark.parametrize(
    ("installed", "extra", "status"),
    [
        ({"prefect": "3.8.8", "sqlalchemy": "2.0.1"}, "ops", Status.OK),
        ({"prefect": "3.8.8", "sqlalchemy": "2.1.0"}, "ops", Status.ERROR),
        ({"prefect": "3.8.8"}, "ops", Status.WARNING),
        ({"prefect": "3.8.8"}, "", Status.ERROR),
    ],
)
def test_package_at_an_unproven_version_is_worse_than_an_absent_one(installed, extra, status):
    wanted = [Requirement("prefect==3.8.8"), Requirement("SQLAlchemy<2.1")]
    assert pins(extra, "the flow", wanted, installed).status is status


@pytest.mark.parametrize(
    ("version", "machine", "status"),
    [
        ("3.11.2", "x86_64", Status.OK),
        ("3.13.0", "x86_64", Status.OK),
        ("3.14.1", "x86_64", Status.WARNING),
        ("3.15.0", "x86_64", Status.ERROR),
        ("3.10.13", "x86_64", Status.ERROR),
        ("3.12.1", "aarch64", Status.ERROR),
    ],
)
def test_python_without_a_lock_is_reported_before_anything_fails_on_it(version, machine, status):
    assert python_version(version, machine).status is status


def test_extras_are_distinguished():
    base, train, ops = ({r.name for r in requirements(extra)} for extra in ("", "train", "ops"))
    assert "numpy" in base
    assert "torch" in train
    assert "prefect" in ops
    assert not base & train
    assert not train & ops


@pytest.mark.parametrize(
    ("now_s", "commit_s", "file_s", "status"),
    [
        (NOON_S, NOON_S - 60, NOON_S, Status.OK),
        (NOON_S, NOON_S + 3600, NOON_S, Status.ERROR),
        (NOON_S, 0.0, NOON_S - 600, Status.ERROR),
    ],
)
def test_clock_that_is_off_is_noticed(now_s, commit_s, file_s, status):
    assert clock(now_s, commit_s, file_s).status is status


def test_what_is_only_lacking_does_not_fail_the_machine():
    assert healthy([ok("a", "x"), warning("b", "x", "y")])
    assert not healthy([ok("a", "x"), error("b", "x", "y")])


@pytest.mark.parametrize("variable", ["SYNTHCT_UNITS", "SYNTHCT_ARRAYS"])
def test_a_bucket_that_is_not_there_is_found_out_in_the_night(variable, s3, monkeypatch):
    def about():
        return [each for each in _s3_access() if each.about.endswith(os.environ[variable])]

    monkeypatch.setenv("SYNTHCT_UNITS", "units")
    monkeypatch.setenv(variable, f"{s3}/somewhere")
    (good,) = about()
    assert (str(good.status), good.found) == ("ok", "accessible")
    monkeypatch.setenv(variable, "s3://synthct-absent/somewhere")
    (bad,) = about()
    assert str(bad.status) == "error"
    assert bad.found == "no such bucket"
    assert variable in bad.remedy


def test_a_remedy_names_an_extra_that_cannot_be_installed():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    named = {
        extra
        for folder in ("data", "tasks", "flows", "docs", "infra")
        for file in (ROOT / folder).rglob("*")
        if file.suffix in (".py", ".md", ".sh") and "__pycache__" not in file.parts
        for group in re.findall(r"pip install '(?:synthct|\.)\[([\w,]+)\]'", file.read_text())
        for extra in group.split(",")
    }
    assert {"dose", "sign", "slurm"} <= named  # the search finds them
    assert named <= set(extras)
