"""A mirrored scan is not registered as if nothing were wrong."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk

from synthct.data.errors import UsageError
from synthct.data.volume import Modality
from synthct.data.writers import write_image
from synthct.tasks.ingestion.body import body_mask
from synthct.tasks.ingestion.params import BodyParams
from synthct.tasks.registration import presets
from synthct.tasks.registration.pair import register_files
from synthct.tasks.registration.scan_pair import ScanPair
from synthct.tasks.registration.sides import sides_of
from tests.fixtures.clean_scans import clean_patient


@pytest.fixture(scope="module")
def thorax():
    _, patient = clean_patient(1)
    scans = patient.sources["mr"].scan, patient.ct
    return ScanPair(*scans, *(body_mask(scan, BodyParams(), "thorax") for scan in scans))


def turned(pair, axis):
    """The CT's voxels in the wrong order under a right header."""
    moving, body = (
        one.with_array(np.ascontiguousarray(np.flip(one.array, axis)))
        for one in (pair.moving, pair.moving_body)
    )
    return replace(pair, moving=moving, moving_body=body)


@pytest.mark.parametrize(("axis", "code"), [(2, "flipped-left-right"), (0, "flipped-head-feet")])
def test_a_ct_with_its_voxels_in_the_wrong_order_is_found(thorax, axis, code):
    assert sides_of(thorax, None).doubt == ""
    assert sides_of(turned(thorax, axis), None).doubt.startswith(code)


def test_a_scan_given_in_another_order_of_its_axes_is_not_called_mirrored(thorax):
    """Voxels and header turned together: the same place."""
    from synthct.data.orientation import flipped
    from synthct.data.orientation import turned as turned_grid

    order, signs = (2, 0, 1), (-1, 1, -1)
    fixed, body = (
        replace(
            one,
            array=np.ascontiguousarray(flipped(one.array, order, signs)),
            grid=turned_grid(one.grid, order, signs),
        )
        for one in (thorax.fixed, thorax.fixed_body)
    )
    same = replace(thorax, fixed=fixed, fixed_body=body)
    found = sides_of(same, None)
    assert found.doubt == ""
    assert found.information == pytest.approx(sides_of(thorax, None).information, abs=1e-6)


def test_a_start_that_brings_scans_of_two_frames_together_is_used(thorax):
    far = sitk.Euler3DTransform()
    far.SetTranslation((900.0, -700.0, 1500.0))
    from synthct.tasks.registration.rigid.initial import placed

    away = placed(thorax, far.GetInverse())
    assert sides_of(away, far).doubt == ""


@pytest.mark.slow
def test_register_fails_a_mirrored_ct_and_says_so(thorax, quick, tmp_path, monkeypatch):
    monkeypatch.setitem(presets.PRESETS, "quick", quick)
    pair = turned(thorax, 2)
    write_image(tmp_path / "mr.mha", pair.fixed)
    write_image(tmp_path / "ct.mha", pair.moving)
    quality = register_files(
        tmp_path / "mr.mha", tmp_path / "ct.mha", fixed_modality=Modality.MR,
        moving_modality=Modality.CT, preset="quick", region="thorax", out=tmp_path / "out",
    )  # fmt: skip
    assert quality["verdict"] == "fail"
    assert quality["reason"].startswith("flipped-left-right")
    assert quality["sides"]["mirrored"] > quality["sides"]["straight"]


@pytest.mark.parametrize("role", ["fixed", "moving"])
def test_a_scan_whose_modality_is_not_known_names_the_option_that_says_it(thorax, tmp_path, role):
    write_image(tmp_path / "mr.mha", thorax.fixed)
    write_image(tmp_path / "ct.mha", thorax.moving)
    known = {"fixed_modality": Modality.MR, "moving_modality": Modality.CT}
    known.pop(f"{role}_modality")
    with pytest.raises(UsageError) as caught:
        register_files(tmp_path / "mr.mha", tmp_path / "ct.mha", out=tmp_path / "out", **known)
    assert f"--{role}-modality" in str(caught.value)
    assert caught.value.code == "modality-unknown"
