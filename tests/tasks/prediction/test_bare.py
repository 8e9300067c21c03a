"""A clinic's machine: the wheel with the dependencies that it names, and ``predict`` is enough."""

from __future__ import annotations

import subprocess

import pytest
import SimpleITK as sitk

from synthct.data.phantom.patient import Protocol, make_patient
from synthct.data.writers.dicom import write_series
from synthct.tasks.cohort.params import CohortParams
from synthct.tasks.cohort.run import protocol_of
from synthct.tasks.pipeline.randomness import generator
from tests.conftest import skip_or_fail
from tests.packaging import clean_environment, make_environment

ABSENT = ("torch", "prefect", "dvc", "dask", "monai", "zarr", "onnx", "nibabel")


@pytest.fixture
def bare(tmp_path, distribution):
    """Folder of a new virtual environment with the wheel and its dependencies, or why not."""
    folder = tmp_path / "bare"
    python = make_environment(folder, shared=False)
    got = subprocess.run(
        [str(python), "-m", "pip", "install", "--quiet", "--retries", "1", str(distribution[1])],
        capture_output=True, text=True, env=clean_environment(), cwd=tmp_path,
    )  # fmt: skip
    if got.returncode:
        skip_or_fail("index", f"no package index: {got.stderr.strip().splitlines()[-1][:200]}")
    return folder


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
    absent = subprocess.run(
        [str(bare / "bin" / "python"), "-c", f"import importlib.util as u; print([n for n in "
         f"{ABSENT} if u.find_spec(n)])"],
        env=clean_environment(), capture_output=True, text=True, check=True, cwd=tmp_path,
    )  # fmt: skip
    assert absent.stdout.strip() == "[]"
    options = ["--model", release, "--input", phantom, "--out", tmp_path / "sct"]
    done = subprocess.run(
        [str(bare / "bin" / "synthct"), "predict", *map(str, options),
         "--dicom-reference", str(phantom)],
        env=clean_environment(), cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    names = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(tmp_path / "sct"))
    source = sitk.ReadImage(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(phantom)))
    made = sitk.ReadImage(names)
    assert made.GetSize() == source.GetSize()
    assert made.GetOrigin() == pytest.approx(source.GetOrigin())
