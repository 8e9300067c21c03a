"""A clinic's machine: only the base dependencies are installed, and ``predict`` is enough."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import SimpleITK as sitk

from synthct.data.phantom.patient import Protocol, make_patient
from synthct.data.writers.dicom import write_series
from synthct.tasks.cohort.params import CohortParams
from synthct.tasks.cohort.run import protocol_of
from synthct.tasks.pipeline.randomness import generator
from tests.conftest import skip_or_fail

ROOT = Path(__file__).resolve().parents[3]
ABSENT = ("torch", "prefect", "dvc", "dask", "monai", "zarr", "onnx")


@pytest.fixture
def bare(tmp_path):
    """Python of a new virtual environment with the base dependencies, or a reason why not."""
    folder = tmp_path / "bare"
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    base = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    python = folder / "bin" / "python"
    got = subprocess.run(
        [str(python), "-m", "pip", "install", "--quiet", "--retries", "1", *base],
        capture_output=True, text=True,
    )  # fmt: skip
    if got.returncode:
        skip_or_fail("index", f"no package index: {got.stderr.strip().splitlines()[-1][:200]}")
    return python


@pytest.fixture
def phantom(tmp_path):
    """MR of a digital head and neck as DICOM, as the cohort stage writes it."""
    protocol = Protocol(**protocol_of(CohortParams(), "head-neck"))
    made = make_patient("head-neck", protocol, lambda *names: generator(1, *names))
    write_series(
        tmp_path / "mr", made.sources["mr"].scan, patient_id="HN-X", study="MR",
        series_description="phantom", attributes={"FrameOfReferenceUID": "1.2.3"}, uid_seed="x",
    )  # fmt: skip
    return tmp_path / "mr"


@pytest.mark.slow
def test_a_new_environment_with_the_base_dependencies_predicts_a_phantom(
    bare, phantom, release, tmp_path
):
    environment = {
        key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")
    }
    code = tmp_path / "code"  # a copy without tests, caches and data, as an installation has it
    for package in ("data", "tasks", "flows"):
        shutil.copytree(
            ROOT / package,
            code / package,
            ignore=shutil.ignore_patterns("raw", "artefacts", "__pycache__"),
        )
    environment["PYTHONPATH"] = str(code)
    absent = subprocess.run(
        [str(bare), "-c", f"import importlib.util as u; print([n for n in {ABSENT} "
         "if u.find_spec(n)])"],
        env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert absent.stdout.strip() == "[]"
    run = "import sys; from synthct.flows.cli import app; sys.exit(app.command_line(sys.argv[1:]))"
    options = ["--model", release, "--input", phantom, "--out", tmp_path / "sct"]
    done = subprocess.run(
        [str(bare), "-c", run, "predict", *map(str, options), "--dicom-reference", str(phantom)],
        env=environment, cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    names = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(tmp_path / "sct"))
    source = sitk.ReadImage(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(phantom)))
    made = sitk.ReadImage(names)
    assert made.GetSize() == source.GetSize()
    assert made.GetOrigin() == pytest.approx(source.GetOrigin())
