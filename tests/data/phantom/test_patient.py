"""The digital patients: known truth, hard enough to mean something, the same bytes every time."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk

from synthct.data.itk import displacement_to_itk, resample
from synthct.data.phantom.deformation import jacobian_determinant, without_rigid
from synthct.data.phantom.tissues import LABEL, TISSUES, draw_values
from synthct.data.volume import Modality


def _inside(source):
    return source.labels.array > 0


def test_same_seed_gives_the_same_bytes_and_another_patient_does_not(make_small):
    one, again, other = (make_small("head-neck", name) for name in ("one", "one", "two"))
    assert one.ct.array.tobytes() == again.ct.array.tobytes()
    assert not np.array_equal(one.ct.array, other.ct.array)
    for source in ("mr", "cbct"):
        assert (
            one.sources[source].scan.array.tobytes() == again.sources[source].scan.array.tobytes()
        )
        vectors = [p.sources[source].displacement.vectors for p in (one, again)]
        assert vectors[0].tobytes() == vectors[1].tobytes()


def test_displacement_pulls_the_ct_onto_the_source_days_truth(patient):
    """The stated convention (fixed -> moving, mm, z y x) is the one that the images obey."""
    for source in patient.sources.values():
        inside = _inside(source)
        transform = sitk.DisplacementFieldTransform(displacement_to_itk(source.displacement))
        pulled = resample(patient.ct, source.ct.grid, transform=transform, outside=-1000.0)
        unmoved = resample(patient.ct, source.ct.grid, outside=-1000.0)
        truth = source.ct.array.astype(float)
        after = np.abs(pulled.array - truth)[inside].mean()
        before = np.abs(unmoved.array - truth)[inside].mean()
        assert after < 0.65 * before


def test_bodies_move_but_never_fold(patient):
    for source in patient.sources.values():
        assert jacobian_determinant(source.displacement).min() > 0.3
        left = np.linalg.norm(without_rigid(source.displacement, _inside(source)), axis=1)
        assert 2.5 < left.mean() < 9.0, "a rigid fit must not explain the motion"


def test_raw_cbct_is_off_by_100_to_250_hu_and_a_line_does_not_repair_it(patient):
    source = patient.sources["cbct"]
    assert source.scan.modality is Modality.CBCT
    seen = _inside(source) & (source.scan.array > -1024)
    truth, raw = (volume.array[seen].astype(float) for volume in (source.ct, source.scan))
    slope, offset = np.polyfit(raw, truth, 1)
    assert 100 < np.abs(raw - truth).mean() < 250
    assert 50 < np.abs(slope * raw + offset - truth).mean() < 130


def test_the_best_intensity_look_up_misses_bone_in_the_mr(patient):
    """Even fitted to the truth of this very patient: bone, air and the rest share intensities."""
    source = patient.sources["mr"]
    inside = _inside(source)
    signal, truth = source.scan.array[inside], source.ct.array[inside].astype(float)
    edges = np.unique(np.quantile(signal, np.linspace(0, 1, 33)[1:-1]))
    bins = np.searchsorted(edges, signal)
    median = np.array([np.median(truth[bins == k]) for k in range(len(edges) + 1)])
    error = np.abs(median[bins] - truth)
    assert error.mean() > 50
    assert error[truth > 250].mean() > 250


def test_scans_hold_whole_numbers_that_dicom_can_store(patient):
    scans = [patient.ct, *(source.scan for source in patient.sources.values())]
    for scan in scans:
        assert scan.array.dtype == np.int16
    assert patient.ct.array.min() >= -1024
    assert patient.ct.array.max() <= 3071


def test_organs_that_name_the_region_are_there(region, patient):
    expected = {
        "head-neck": {"white_matter", "csf", "enamel", "cortical_bone", "airway", "cord"},
        "thorax": {"lung", "heart_muscle", "blood", "airway", "liver", "marrow"},
        "abdomen": {"liver", "spleen", "kidney_cortex", "bowel_content", "gas", "marrow"},
    }[region]
    present = {TISSUES[label].name for label in np.unique(patient.sources["mr"].labels.array)}
    assert expected <= present
    assert {"skin", "fat", "muscle"} <= present


def test_left_and_right_differ(patient):
    ct = patient.ct.array.astype(float)
    assert np.abs(ct - ct[:, :, ::-1])[np.abs(ct) < 200].mean() > 20


def test_patients_tissues_stay_within_ten_percent_of_the_table():
    values = [draw_values(np.random.default_rng(seed)) for seed in range(40)]
    liver = LABEL["liver"]
    for name in ("hu", "t1_ms", "t2_ms", "pd"):
        drawn = np.array([getattr(v, name)[liver] for v in values])
        ratio = drawn / getattr(TISSUES[liver], name)
        assert 0.9 <= ratio.min() < 0.95 < 1.05 < ratio.max() <= 1.1
        assert all(getattr(v, name)[0] == getattr(TISSUES[0], name) for v in values)
