"""Every planted fault is found, what is repaired is right, and sound scans raise no alarm."""

from __future__ import annotations

import numpy as np
import pytest

from synthct.data.volume import Modality, Volume
from synthct.tasks.ingestion.body import body_mask
from synthct.tasks.ingestion.check import check_volume
from synthct.tasks.ingestion.findings import Severity
from synthct.tasks.ingestion.guards import GUARDS
from synthct.tasks.ingestion.params import IngestionParams
from tests.fixtures.clean_scans import ORDERS, clean_scans
from tests.fixtures.ingestion_checks import alarms, look_at, mended
from tests.fixtures.scan_faults import KINDS, Planted, sound_ct

PARAMS = IngestionParams()


@pytest.fixture(scope="session")
def patient_ct():
    region, ct = sound_ct(2)
    z, y, x = ct.array.shape
    return region, ct.crop((z // 4, 0, 0), (z // 4 + 18, y, x))


@pytest.mark.parametrize("name", sorted(KINDS))
def test_no_planted_fault_passes_unseen(name, patient_ct, tmp_path):
    region, ct = patient_ct
    planted = KINDS[name].plant(tmp_path / "s", ct, np.random.default_rng(1))
    looked = look_at(planted, region)
    assert looked.codes & KINDS[name].codes, looked
    if planted.truth is not None:
        assert mended(planted, looked)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(KINDS))
def test_no_planted_fault_passes_unseen_in_ten_patients(name, tmp_path):
    for seed in range(10):
        region, ct = sound_ct(seed)
        planted = KINDS[name].plant(tmp_path / str(seed), ct, np.random.default_rng(seed))
        looked = look_at(planted, region)
        assert looked.codes & KINDS[name].codes, (seed, looked)
        assert planted.truth is None or mended(planted, looked), seed


@pytest.mark.parametrize("order", ORDERS)
def test_sound_scans_raise_no_alarm(order):
    """A whole head; CT, MR and cone-beam CT."""
    assert list(alarms(clean_scans(3, orders=[order]))) == []


@pytest.mark.slow
def test_two_hundred_sound_scans_raise_no_alarm_in_any_order_of_axes():
    assert list(alarms(clean_scans(200, orders=ORDERS))) == []


REAL = [
    ("sts_mr_ct/STS_001/CT_dicom", Modality.CT, {"cut-body"}),
    ("sts_mr_ct/STS_001/MR_T1_dicom", Modality.MR, {"cut-body"}),
    ("sts_mr_ct/STS_002/CT_dicom", Modality.CT, {"cut-body"}),
    ("sts_mr_ct/STS_002/MR_T1_dicom", Modality.MR, {"cut-body", "interpolated"}),
    ("lung_ct_pair/3DCT_lung_baseline.mha", Modality.CT, {"cut-body"}),
    ("lung_ct_pair/3DCT_lung_followup.mha", Modality.CT, {"cut-body"}),
    ("small_ct_mr/example_ct.nii.gz", Modality.CT, {"metal", "cut-body"}),
    ("small_ct_mr/example_ct_sm.nii.gz", Modality.CT, set()),
    ("small_ct_mr/example_mr_sm.nii.gz", Modality.MR, {"cut-body"}),
]


@pytest.mark.parametrize(("name", "modality", "codes"), REAL)
def test_real_scans_say_what_is_true_of_them_and_nothing_else(shared_data, name, modality, codes):
    assert look_at(Planted(shared_data / name, modality), "other").codes == codes


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "modality", "codes"),
    [
        ("sts_mr_ct/STS_001_raw/MR_T1_dicom", Modality.MR,
         {"oblique", "empty-slices", "interpolated", "cut-body"}),
        ("catphan_cbct/High_quality_head.zip", Modality.CBCT, {"oblique"}),
    ],
)  # fmt: skip
def test_large_real_scans_say_what_is_true_of_them(shared_data, name, modality, codes):
    assert look_at(Planted(shared_data / name, modality), "other").codes <= codes


def codes_of(volume):
    return {f.code: f.severity for f in check_volume(volume, "abdomen", PARAMS).findings}


def test_zero_filled_k_space_is_noted(patient_ct):
    rng = np.random.default_rng(0)
    measured = np.abs(
        patient_ct[1].array[:4] + 1000 + rng.normal(0, 20, (4, *patient_ct[1].array.shape[1:]))
    )
    spectrum = np.fft.fftshift(np.fft.fft2(measured), axes=(1, 2))
    _, y, x = measured.shape
    padded = np.pad(spectrum, ((0, 0), (y // 4, y // 4), (x // 4, x // 4)))
    fine = np.abs(np.fft.ifft2(np.fft.ifftshift(padded, axes=(1, 2)))) * 2.25
    guard = GUARDS.build("interpolated", {}, where="")
    grid = patient_ct[1].crop((0, 0, 0), (4, y, x)).grid
    z = Volume(measured.astype(np.float32), grid, Modality.MR)
    assert guard(z, None)[1] == []
    from synthct.data.volume import Grid

    zoomed = Volume(fine.astype(np.float32), Grid(fine.shape, (5.0, 2.0, 2.0)), Modality.MR)
    assert [one.code for one in guard(zoomed, None)[1]] == ["interpolated"]


def test_letters_in_the_pixels_are_flagged_and_noise_is_not(patient_ct):
    """DOE, drawn in strokes of one grey value in the dark corner of one slice."""
    array = patient_ct[1].array.copy()
    letters = ["11001110111", "10101010100", "10101010110", "10101010100", "11001110111"]
    drawn = np.array([[int(c) for c in row] for row in letters], bool)
    array[5, 1:6, 1:12][drawn] = 1500
    assert codes_of(patient_ct[1].with_array(array))["burned-in-text"] is Severity.QUARANTINE
    assert "burned-in-text" not in codes_of(patient_ct[1])


def test_a_body_cut_by_the_reconstruction_circle_is_noted(patient_ct):
    array = patient_ct[1].array.copy()
    _, y, x = np.indices(array.shape)
    far = np.hypot(y - array.shape[1] / 2, x - array.shape[2] / 2) > array.shape[1] * 0.38
    array[far] = -1024
    assert codes_of(patient_ct[1].with_array(array))["cut-body"] is Severity.NOTE


def test_an_empty_corner_is_no_reconstruction_circle(ct):
    mask = body_mask(ct, PARAMS.body, "thorax")
    guard = GUARDS.build("field_of_view", {}, where="")
    assert guard(ct, mask)[1] == []
