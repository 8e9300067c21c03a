"""A mirrored scan is not registered as if nothing were wrong."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk

from synthct.data.errors import UsageError
from synthct.data.readers import read_scan
from synthct.data.volume import Modality
from synthct.data.writers import write_image
from synthct.tasks.ingestion.body import body_mask
from synthct.tasks.ingestion.pairs import CELL_MM, MIN_RATIO, Fits, fits
from synthct.tasks.ingestion.params import BodyParams
from synthct.tasks.registration import presets
from synthct.tasks.registration.pair import register_files
from synthct.tasks.registration.scan_pair import ScanPair
from synthct.tasks.registration.sides import CLEAR, FINE_MM, judged, sides_of
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


@pytest.mark.parametrize("number", [3, *(pytest.param(n, marks=pytest.mark.slow) for n in (9, 12))])
@pytest.mark.parametrize("source", ["mr", "cbct"])
def test_a_mirrored_head_never_passes_without_a_note(number, source):
    """At 8 mm a head is nearly symmetric: five of these six passed in silence."""
    _, patient = clean_patient(number)
    scans = patient.sources[source].scan, patient.ct
    head = ScanPair(*scans, *(body_mask(scan, BodyParams(), "head-neck") for scan in scans))
    sound, wrong = sides_of(head, None), sides_of(turned(head, 2), None)
    assert (sound.doubt, sound.suspicion) == ("", "")
    assert sound.information["left_right_shown"]
    assert wrong.doubt.startswith("flipped-left-right") or "left and right" in wrong.suspicion
    assert not wrong.information["left_right_shown"]


SEEN = {
    "clear": (Fits(0.50, 0.30, 0.20), MIN_RATIO, "", ""),
    "mirrored": (Fits(0.30, 0.50, 0.20), MIN_RATIO, "doubt", "flipped-left-right"),
    "reversed": (Fits(0.30, 0.20, 0.50), MIN_RATIO, "doubt", "flipped-head-feet"),
    "rather mirrored": (Fits(0.40, 0.48, 0.20), CLEAR, "suspicion", "left and right"),
    "a limb": (Fits(0.40, 0.20, 0.41), MIN_RATIO, "note", "head and feet"),
    "symmetric": (Fits(0.40, 0.39, 0.20), CLEAR, "note", "left and right"),
    "no information": (Fits(0.13, 0.13, 0.01), CLEAR, "note", "left and right"),
}


@pytest.mark.parametrize(("found", "clear", "where", "words"), SEEN.values(), ids=SEEN)
def test_a_note_states_once_what_the_images_do_not_show(found, clear, where, words):
    sides = judged(found, CELL_MM, clear)
    told = {name: getattr(sides, name) for name in ("doubt", "suspicion", "note")}
    assert [name for name, text in told.items() if text] == ([where] if where else [])
    assert words in told.get(where, "")
    shown = sides.information["left_right_shown"], sides.information["head_feet_shown"]
    assert shown == (
        found.straight > clear * found.mirrored,
        found.straight > clear * found.reversed_,
    )


def test_a_pair_that_is_clear_at_low_resolution_costs_no_second_comparison(thorax, monkeypatch):
    asked = []

    def counted(*scans, cell_mm=CELL_MM):
        asked.append(cell_mm)
        return fits(*scans, cell_mm=cell_mm)

    monkeypatch.setattr("synthct.tasks.registration.sides.fits", counted)
    sides_of(thorax, None)
    sides_of(turned(thorax, 2), None)
    assert asked in ([CELL_MM] * 2, [CELL_MM, FINE_MM, CELL_MM])


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
    ).quality  # fmt: skip
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


@pytest.mark.slow
@pytest.mark.parametrize("number", range(24))
def test_no_sound_limb_is_called_mirrored_and_no_mirrored_one_passes_in_silence(
    shared_data, number
):
    folders = sorted(path for path in (shared_data / "sts51").glob("STS_*") if path.is_dir())
    files = (folders[number] / name for name in ("MR_T1.nii.gz", "CT.nii.gz"))
    scans = [
        read_scan(file, kind) for file, kind in zip(files, (Modality.MR, Modality.CT), strict=True)
    ]
    pair = ScanPair(*scans, *(body_mask(scan, BodyParams(), "other") for scan in scans))
    sound, wrong = sides_of(pair, None), sides_of(turned(pair, 2), None)
    assert (sound.doubt, sound.suspicion) == ("", "")
    assert wrong.doubt or wrong.suspicion or "left and right" in wrong.note
