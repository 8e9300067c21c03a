"""The couch is not part of the body, and tissue that looks like a couch is kept."""

from __future__ import annotations

import numpy as np
import pytest

from synthct.data.volume import Grid, Modality, Volume
from synthct.tasks.ingestion.check import check_volume
from synthct.tasks.ingestion.couch import couch_rows, without_couch
from synthct.tasks.ingestion.params import IngestionParams


def trunk(shape=(20, 60, 80)):
    z, y, x = np.indices(shape)
    wide = 26 + 2 * np.sin(z / 3)
    return ((y - 28) / 17) ** 2 + ((x - 40) / wide) ** 2 <= 1


@pytest.mark.parametrize("thick", [2, 5, 9])
def test_a_plate_under_the_back_is_cut_off(thick):
    body = trunk()
    mask = body.copy()
    mask[:, 45 : 45 + thick, 6:74] = True
    volume = Volume(mask.astype(np.uint8), Grid(mask.shape, (4.0, 4.0, 4.0)), Modality.MASK)
    cut, couch_mm = without_couch(volume, IngestionParams().body)
    assert couch_mm == pytest.approx(4.0 * thick, abs=4.0)
    assert not cut.array[:, 46:].any()
    assert np.array_equal(cut.array[:, :44] > 0, body[:, :44])


def test_a_body_without_couch_keeps_every_voxel():
    assert couch_rows(trunk(), 4.0)[0] is None


def test_arms_and_legs_on_the_couch_are_no_couch():
    body = trunk()
    _, y, x = np.indices(body.shape)
    for centre in (6, 74):
        body |= np.hypot(y - 39, x - centre) <= 6
    legs = np.zeros_like(body)
    for centre in (20, 60):
        legs |= np.hypot(y - 30, x - centre) <= 14
    assert couch_rows(body, 4.0)[0] is None
    assert couch_rows(legs, 4.0)[0] is None


def test_a_box_filled_with_body_is_no_couch():
    assert couch_rows(np.ones((5, 40, 40), bool), 4.0)[0] is None


def test_an_arm_across_an_mr_is_not_cut_off_as_a_couch():
    """No couch is visible in an MR, and the lower half of an arm looks like one."""
    z, y, _ = np.indices((30, 40, 40))
    body = np.hypot(z - 15, y - 20) < 9
    noise = np.random.default_rng(0).normal(0, 2, body.shape)
    values = np.abs(np.where(body, 300 + 60 * np.sin(y / 3.0), 2) + noise).astype(np.float32)
    scan = Volume(values, Grid(body.shape, (4.0, 4.0, 4.0)), Modality.MR)
    checked = check_volume(scan, "other", IngestionParams())
    assert "couch-in-body" not in [finding.code for finding in checked.findings]
    assert checked.mask.array[body].mean() > 0.95


def test_a_thick_couch_in_a_ct_is_reported_and_gone(ct):
    values = ct.array.copy()
    values[:, 36:44, 4:52] = -50  # 24 mm: the opening cannot remove it
    checked = check_volume(ct.with_array(values), "thorax", IngestionParams())
    assert "couch-in-body" in [finding.code for finding in checked.findings]
    assert not checked.mask.array[:, 37:].any()
    assert checked.mask.array[:, 30, 28].all()
