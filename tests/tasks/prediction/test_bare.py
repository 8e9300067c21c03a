"""A clinic's machine, on each Python at hand: the lock of ``predict`` is enough."""

from __future__ import annotations

import pytest
import SimpleITK as sitk

from synthct.data.phantom.patient import Protocol, make_patient
from synthct.data.writers.dicom import write_series
from synthct.tasks.cohort.params import CohortParams
from synthct.tasks.cohort.run import protocol_of
from synthct.tasks.pipeline.randomness import generator
from tests.pythons import PYTHONS, install, interpreter, run

ABSENT = ("torch", "prefect", "dvc", "dask", "monai", "zarr", "onnx")


@pytest.fixture(params=PYTHONS)
def bare(request, tmp_path):
    """Folder of programs of a new virtual environment from the lock, or a reason why not."""
    return install(interpreter(request.param), "predict", tmp_path)


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
    find = f"import importlib.util as u; print([n for n in {ABSENT} if u.find_spec(n)])"
    assert run(bare / "python", "-c", find).strip() == "[]"
    assert "predict" in run(bare / "synthct", "--help")
    options = ["--model", release, "--input", phantom, "--out", tmp_path / "sct"]
    run(bare / "synthct", "predict", *options, "--dicom-reference", phantom)
    names = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(tmp_path / "sct"))
    source = sitk.ReadImage(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(phantom)))
    made = sitk.ReadImage(names)
    assert made.GetSize() == source.GetSize()
    assert made.GetOrigin() == pytest.approx(source.GetOrigin())
