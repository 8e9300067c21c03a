"""The outline holds the body and nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from synthct.data.readers import read_scan
from synthct.data.volume import Modality, Volume
from synthct.tasks.ingestion.body import body_mask, body_threshold
from synthct.tasks.ingestion.params import BodyParams, BodyThresholds


def dice(a, b):
    return 2 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b))


@pytest.mark.parametrize("kind", ["ct", "mr"])
def test_lungs_are_inside_couch_and_air_are_outside(request, trunk, kind):
    scan = request.getfixturevalue(kind)
    mask = body_mask(scan, BodyParams(), "thorax").array > 0
    assert dice(mask, trunk) > 0.98
    assert mask[:, 21, 19].all()  # lung
    assert not mask[:, 39].any()  # couch
    assert not mask[:, 0].any()


def test_cone_beam_with_wrong_air_is_outlined(ct, trunk):
    raw = np.where(ct.array < -900, -780, ct.array * 0.8 - 100)
    cbct = Volume(raw.astype(np.int16), ct.grid, Modality.CBCT)
    assert dice(body_mask(cbct, BodyParams(), "thorax").array > 0, trunk) > 0.97


def test_a_second_leg_is_kept_and_a_hand_rest_is_not(ct):
    legs = np.full(ct.array.shape, -1000, np.int16)
    legs[:, 12:34, 6:24] = 40
    legs[:, 14:34, 32:50] = 40
    legs[:, 2:5, 2:6] = 40
    mask = body_mask(ct.with_array(legs), BodyParams(), "other").array > 0
    assert mask[:, 20, 15].all()
    assert mask[:, 20, 40].all()
    assert not mask[:, 3, 4].any()


def test_a_body_cut_by_the_image_reaches_its_edge(ct):
    part = ct.crop((0, 14, 20), (16, 40, 40))
    mask = body_mask(part, BodyParams(), "thorax").array > 0
    assert mask[:, 18, 0].all()
    assert mask[:, 18, -1].all()
    assert mask[0].sum() == mask[-1].sum()
    assert mask[0, 10, 10]


def test_threshold_by_hand(ct):
    """97.5th percentile 100, air -1000, t = 0.45: -1000 + 0.45 * 1100 = -505."""
    values = np.where(np.arange(ct.array.size) % 2, 100, -1000).reshape(ct.array.shape)
    assert body_threshold(ct.with_array(values.astype(np.int16)), 0.45) == pytest.approx(-505)


def test_a_region_may_have_its_own_threshold(mr):
    strict = BodyParams(by_region={"head-neck": BodyThresholds(mr=0.95)})
    everywhere = body_mask(mr, strict, "thorax").array.sum()
    assert body_mask(mr, strict, "head-neck").array.sum() < 0.7 * everywhere


@pytest.mark.parametrize(
    ("name", "air", "tissue"),
    [
        ("sts_mr_ct/STS_001/CT_dicom", (5, 180, 100), (29, 100, 60)),
        ("sts_mr_ct/STS_001/MR_T1_dicom", (5, 140, 150), (29, 70, 60)),
        ("sts_mr_ct/STS_002/CT_dicom", (24, 125, 100), (24, 60, 100)),  # the couch is at 125
    ],
)
def test_real_thighs_are_outlined(shared_data, name, air, tissue):
    scan = read_scan(shared_data / name)
    mask = body_mask(scan, BodyParams(), "other").array
    assert mask[tissue] == 1
    assert mask[air] == 0
    assert 0.2 < mask.mean() < 0.95
