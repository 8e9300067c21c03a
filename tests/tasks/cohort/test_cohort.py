"""The cohort stage: ``data/raw`` satisfies its contracts, is complete and reusable."""

from __future__ import annotations

import json

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk

from synthct.data.files import content_hash
from synthct.data.layout import Layout
from synthct.data.store.result_cache import LocalResults
from synthct.tasks.cohort.params import CohortParams, VoxelSizes
from synthct.tasks.cohort.run import run
from synthct.tasks.pipeline.fanout import here
from synthct.tasks.pipeline.stage import StageContext

COARSE = VoxelSizes(ct=(8.0, 8.0, 8.0), mr=(10.0, 8.0, 8.0), cbct=(8.0, 8.0, 8.0))


def _params(**changes):
    fields = {
        "regions": ("head-neck",),
        "patients_per_region": 1,
        "voxels_mm": {"head-neck": COARSE},
        "anatomy_mm": 4.0,
        "cbct_views": 20,
    }
    return CohortParams(**(fields | changes))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    root = tmp_path_factory.mktemp("cohort")
    (root / "units").mkdir()
    context = StageContext(Layout(root / "ws"), 7, LocalResults(root / "units"), here)
    run(context, _params())
    return context


def test_every_path_in_dataset_json_exists_and_is_what_was_hashed(made):
    raw = made.layout.raw
    facts = json.loads((raw / "dataset.json").read_text())
    assert facts["synthetic"] is True
    assert facts["licence"]["name"] == "CC0-1.0"
    patient = facts["patients"]["HN-01"]
    assert patient["region"] == "head-neck"
    assert set(patient["scans"]) == {"ct", "mr", "cbct"}
    for scan in patient["scans"].values():
        assert content_hash(raw / scan["path"]) == scan["sha256"]
    for truth in patient["truth"].values():
        for path in truth.values():
            assert (raw / path).is_file()


def test_cbct_is_distinguished_from_ct_and_mr_carries_its_sequence(made):
    raw = made.layout.raw / "HN-01"
    ct, mr, cbct = (
        pydicom.dcmread(sorted((raw / scan).glob("*.dcm"))[0]) for scan in ("ct", "mr", "cbct")
    )
    assert (ct.Modality, mr.Modality, cbct.Modality) == ("CT", "MR", "CT")
    assert "Cone-beam CT" in cbct.ManufacturerModelName
    assert "Cone-beam" not in ct.ManufacturerModelName
    assert float(mr.RepetitionTime) == pytest.approx(550, rel=0.06)
    assert len({one.StudyInstanceUID for one in (ct, mr, cbct)}) == 3


def test_truth_lies_on_the_grid_of_its_scan(made):
    raw = made.layout.raw / "HN-01"
    for source in ("mr", "cbct"):
        reader = sitk.ImageSeriesReader()
        reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(raw / source)))
        scan = reader.Execute()
        for what in ("ct", "labels", "displacement"):
            truth = sitk.ReadImage(str(raw / "truth" / f"{source}_{what}.mha"))
            assert truth.GetSize() == scan.GetSize()
            assert np.allclose(truth.GetOrigin(), scan.GetOrigin(), atol=1e-3)
            assert np.allclose(truth.GetSpacing(), scan.GetSpacing(), atol=1e-4)
        assert truth.GetNumberOfComponentsPerPixel() == 3


def test_labels_json_names_every_label_that_occurs(made):
    raw = made.layout.raw
    known = json.loads((raw / "labels.json").read_text())
    assert {entry["structure"] for entry in known.values()} >= {"bone", "lung", "air", "fat"}
    found = sitk.GetArrayFromImage(sitk.ReadImage(str(raw / "HN-01/truth/mr_labels.mha")))
    assert {str(label) for label in np.unique(found)} - {"0"} <= set(known)


def test_adding_a_patient_makes_one_patient_and_leaves_the_others_bytes(made, monkeypatch):
    before = content_hash(made.layout.raw / "HN-01")
    computed = []
    counting = StageContext(
        made.layout, made.seed, made.units,
        lambda function, items, *, label: (
            computed.extend(item.unit for item in items) or here(function, items, label=label)
        ),
    )  # fmt: skip
    run(counting, _params(patients_per_region=2))
    assert computed == ["HN-02"]
    assert content_hash(made.layout.raw / "HN-01") == before
    assert content_hash(made.layout.raw / "HN-02") != before


def test_same_seed_gives_the_same_out_bytes_elsewhere(made, tmp_path):
    (tmp_path / "units").mkdir()
    other = StageContext(Layout(tmp_path / "there"), 7, LocalResults(tmp_path / "units"), here)
    run(other, _params())
    one, two = (context.layout.raw / "HN-01" for context in (made, other))
    assert content_hash(one) == content_hash(two)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"cbct_view": 3}, "cbct_view"),
        ({"patients_per_region": 0}, "patients_per_region"),
        ({"deformation_mm": [5.0, 2.0]}, "deformation_mm"),
        ({"regions": ["thorax"], "voxels_mm": {"abdomen": {}}}, "thorax is missing"),
        ({"voxels_mm": {"pelvis": {}}}, "pelvis"),
    ],
)
def test_a_wrong_parameter_is_named(change, named):
    with pytest.raises(ValueError, match=named):
        CohortParams.model_validate(change)


def test_params_as_yaml_holds_them_are_taken():
    params = CohortParams.model_validate(
        {
            "regions": ["thorax"],
            "voxels_mm": {"thorax": {"ct": [2.7, 1.5, 1.5], "mr": [5.0, 1.5, 1.5]}},
            "deformation_mm": [2.0, 5.0],
        }
    )
    assert params.voxels_mm["thorax"].ct == (2.7, 1.5, 1.5)
