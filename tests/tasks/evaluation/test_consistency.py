"""A synthetic CT that is misaligned with its own source is detected without any CT."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from synthct.tasks.evaluation.consistency import SourceAnatomy, void_dice

SPACING_MM = (3.0, 1.5, 1.5)


@pytest.fixture(scope="module")
def scans():
    """An MR whose contrast is the CT's turned upside down in soft tissue; bone and air dark."""
    rng = np.random.default_rng(0)
    z, y, x = np.meshgrid(*[np.linspace(-1, 1, n) for n in (24, 50, 54)], indexing="ij")
    mask = (y / 0.9) ** 2 + (x / 0.9) ** 2 < 1
    texture = gaussian_filter(rng.standard_normal(mask.shape), 2) * 8
    ct = 40 + 60 * texture
    mr = 600 - 200 * texture
    lung = (y**2 + (x - 0.3) ** 2 < 0.08) & (np.abs(z) < 0.7)
    bone = (y**2 + (x + 0.4) ** 2 < 0.04) & (np.abs(z) < 0.8)
    ct[lung], ct[bone] = -800, 900
    mr[lung], mr[bone] = 30, 60
    return mr + rng.normal(0, 10, mr.shape), np.where(mask, ct, -1024), mask


def measured(scans, sct, source="mr"):
    mr, _, mask = scans
    return anatomy(mr, mask, source).compare(sct).values


def anatomy(scan, mask, source="mr"):
    return SourceAnatomy(scan, mask, modality=source, spacing_mm=SPACING_MM)


@pytest.mark.parametrize(("axis", "offset_mm"), [(0, 3.0), (1, 1.5), (2, 1.5)])
def test_a_shift_of_one_voxel_is_reported_in_mm(scans, axis, offset_mm):
    there = measured(scans, scans[1])
    moved = measured(scans, np.roll(scans[1], 1, axis=axis))
    assert there["source_offset_mm"] == 0
    assert moved["source_offset_mm"] == offset_mm
    assert moved["source_edges"] < there["source_edges"]
    assert moved["source_void_dice"] < there["source_void_dice"]


def test_a_contrast_turned_upside_down_is_no_difference(scans):
    mr, ct, mask = scans
    there = anatomy(mr, mask).edge_agreement(ct)
    turned = anatomy(-mr, mask).edge_agreement(ct)
    assert turned == pytest.approx(there)


def test_dark_bone_counts_as_void_on_mr_only(scans):
    mr, ct, mask = scans
    assert void_dice(mr, ct, mask, "mr") > 0.9
    without = np.where(ct > 400, 50, ct)
    assert void_dice(mr, without, mask, "mr") < void_dice(mr, ct, mask, "mr")
    assert void_dice(mr, np.where(mask, 40, -1024), mask, "mr") is None


def test_a_scan_too_small_to_shift_has_no_offset():
    tiny = np.zeros((3, 9, 9))
    found = anatomy(tiny, np.ones(tiny.shape, bool)).compare(tiny)
    assert found.values["source_offset_mm"] is None


def test_a_wider_field_of_view_changes_no_value(scans):
    def seen_in(width):
        mr, ct, mask = (np.pad(scan, width) for scan in scans)
        return anatomy(mr, mask).compare(np.where(mask, ct, -1024)).values

    assert seen_in(((7, 7), (7, 7), (7, 7))) == seen_in(((9, 20), (11, 8), (8, 15)))
