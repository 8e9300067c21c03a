"""A clinic's body mask is ingested with its scans, and used only if it is the mask of a body."""

from __future__ import annotations

import numpy as np
import pytest

from synthct.data.orientation import flipped, reordered_onto, turned
from synthct.data.readers import read_scan
from synthct.data.volume import Modality, Volume
from synthct.data.writers import write_image
from synthct.tasks.ingestion.check import check_volume
from synthct.tasks.ingestion.dataset import load_dataset
from synthct.tasks.ingestion.params import IngestionParams
from synthct.tasks.ingestion.patient import check_scan
from synthct.tasks.intake import plan_intake
from tests.fixtures.intake import ingest, row_of

PARAMS = IngestionParams()
pytestmark = pytest.mark.usefixtures("pseudonym_key")


@pytest.fixture
def case(tmp_path, ct, mr, trunk):
    """A SynthRAD-style case with its mask."""
    folder = tmp_path / "cases" / "1THA001"
    for name, volume in {"ct": ct, "mr": mr}.items():
        write_image(folder / f"{name}.mha", volume)
    write_image(folder / "mask.mha", ct.with_array(trunk.astype(np.uint8), Modality.MASK))
    return folder


def test_the_mask_of_a_case_goes_with_each_scan_on_its_grid(case, tmp_path, trunk):
    plan, result = ingest([case], tmp_path / "raw")
    assert [name.split("/")[1] for name in result.added] == ["ct", "mr", "mask-ct", "mask-mr"]
    entry = load_dataset(tmp_path / "raw").patients[plan.rows[0].patient]
    stored = read_scan(tmp_path / "raw" / entry.masks["mr"].path, Modality.MASK)
    assert np.array_equal(stored.array, trunk)


def test_a_mask_saved_with_other_axes_is_not_refused_and_outlines_the_same_voxels(
    case, tmp_path, ct, trunk
):
    mask = ct.with_array(trunk.astype(np.uint8), Modality.MASK)
    order, signs = (1, 2, 0), (-1, 1, -1)
    other = Volume(
        np.ascontiguousarray(flipped(mask.array, order, signs)),
        turned(mask.grid, order, signs),
        Modality.MASK,
    )
    write_image(case / "mask.mha", other)
    plan, _ = ingest([case], tmp_path / "raw")
    entry = load_dataset(tmp_path / "raw").patients[plan.rows[0].patient]
    stored = tmp_path / "raw" / entry.masks["ct"].path
    checked = check_scan(case / "ct.mha", Modality.CT, "thorax", PARAMS, stored)
    assert "given-mask" in [finding.code for finding in checked.findings]
    back = reordered_onto(checked.mask, ct.grid, 0.01)
    assert np.array_equal(back.array, trunk)


def test_a_manifest_gives_a_mask_its_patient(case, tmp_path):
    (case / "mask.mha").rename(case / "outline.mha")
    manifest = tmp_path / "cases" / "m.csv"
    manifest.write_text("path,patient,modality,region\n1THA001/outline.mha,1THA001,MASK,\n")
    plan = plan_intake([case], "demo", tmp_path / "raw", manifest)
    assert row_of(plan, "mask-ct").status == "new"


def test_a_label_map_is_no_body_mask(case, tmp_path, ct, trunk):
    labels = np.where(ct.array > 500, 2, trunk).astype(np.uint8)
    write_image(case / "mask.mha", ct.with_array(labels, Modality.MASK))
    plan, _ = ingest([case], tmp_path / "raw")
    assert row_of(plan, "mask").findings[0].code == "mask-not-binary"


def test_a_sane_given_mask_is_used_and_says_so(ct, trunk):
    given = ct.with_array(np.roll(trunk, 1, axis=2).astype(np.uint8), Modality.MASK)
    found = check_volume(ct, "thorax", PARAMS, given=given)
    assert np.array_equal(found.mask.array, given.array)
    assert "given-mask" in {one.code for one in found.findings}


@pytest.mark.parametrize("harm", ["a tumour", "upside down", "the whole box", "empty", "moved"])
def test_a_mask_that_is_no_body_is_not_used(ct, trunk, harm):
    array = trunk.astype(np.uint8)
    wrong = {
        "a tumour": np.where(np.indices(trunk.shape)[2] == 28, array, 0),
        "upside down": 1 - array,
        "the whole box": np.ones_like(array),
        "empty": np.zeros_like(array),
        "moved": np.roll(array, 24, axis=2),
    }[harm]
    given = ct.with_array(wrong.astype(np.uint8), Modality.MASK)
    found = check_volume(ct, "thorax", PARAMS, given=given)
    assert np.array_equal(found.mask.array, check_volume(ct, "thorax", PARAMS).mask.array)
    assert "given-mask-unfit" in {one.code for one in found.findings}
