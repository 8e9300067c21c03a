"""`synthct predict --interval`: ends, the voxels not to trust, and releases without calibration."""

from __future__ import annotations

import json

import numpy as np
import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from synthct.data.errors import MachineError, UsageError
from synthct.data.files import canonical_json, file_sha256, write_whole
from synthct.data.readers import read_scan
from synthct.data.volume import Modality
from synthct.tasks.prediction import memory
from synthct.tasks.prediction.checksums import write_checksums
from synthct.tasks.prediction.interval_files import Ends
from synthct.tasks.prediction.intervals import CALIBRATION, Calibration
from synthct.tasks.prediction.options import PredictOptions
from synthct.tasks.prediction.predict import predict_file
from synthct.tasks.prediction.release import open_release

ENDS = {"air": (-32768, -900), "soft": (-900, 150), "bone": (150, 32768)}


def band(low, high, width, *, own=True, cases=8):
    return {
        "low_hu": low, "high_hu": high, "half_width_hu": width, "cases": cases, "own": own,
        "covered": 0.9, "covered_low": 0.88, "covered_high": 0.92,
    }  # fmt: skip


def document(widths=(10.0, 40.0, 200.0), factor=None, own=(True, True, True)):
    bands = {
        name: band(float(ends[0]), float(ends[1]), width, own=alone)
        for (name, ends), width, alone in zip(ENDS.items(), widths, own, strict=True)
    }
    return {
        "format": 1, "nominal": 0.9, "guarantee": "mean", "reference": "registered",
        "patients": 8, "cases": 9, "spread_factor": factor,
        "bands": {**bands, "all": band(-32768.0, 32768.0, 90.0)},
    }  # fmt: skip


def calibration(**changes):
    return Calibration.from_json(document(**changes))


def with_calibration(folder, content):
    text = content if isinstance(content, str) else canonical_json(content)
    write_whole(folder / CALIBRATION, text)
    write_checksums(folder)
    return folder


def test_each_voxel_gets_the_half_width_of_its_own_band():
    hu = np.array([-1024, -901, -900, 0, 149, 150, 3000], np.int16)
    low, high = calibration().interval(hu, -1024, 3071)
    assert low.tolist() == [-1024, -911, -940, -40, 109, -50, 2800]
    assert high.tolist() == [-1014, -891, -860, 40, 189, 350, 3071]


def test_a_band_without_a_finite_half_width_spans_all_that_the_networks_can_answer():
    known = calibration(widths=(10.0, None, 200.0))
    low, high = known.interval(np.array([0], np.int16), -1024, 3071)
    assert (low.item(), high.item()) == (-1024, 3071)
    assert known.untrusted(np.array([0], np.int16), None, 3071).item()


@given(st.lists(st.integers(-1024, 3071), min_size=1, max_size=20), st.floats(0, 4000))
def test_an_interval_that_does_not_contain_its_prediction(values, width):
    hu = np.array(values, np.int16)
    low, high = calibration(widths=(width, width, width)).interval(hu, -1000, 3000)
    assert (low <= hu).all()
    assert (hu <= high).all()


def test_what_the_networks_disagree_on_more_than_the_interval_allows_is_not_trusted():
    hu, known = np.zeros(2, np.int16), calibration()
    limit = 40 / norm.ppf(0.95)  # half-width 40 HU of nominal 90 %
    assert known.untrusted(hu, np.array([limit - 0.1, limit + 0.1]), 3071).tolist() == [False, True]
    stricter = calibration(factor=4.0)  # what the evaluation found the spread to be worth
    assert stricter.untrusted(hu, np.array([9.9, 10.1]), 3071).tolist() == [False, True]


def test_a_band_that_few_patients_had_and_what_may_be_denser_are_not_trusted():
    known = calibration(own=(True, True, False))
    hu = np.array([0, 149, 150, 900], np.int16)
    assert known.untrusted(hu, np.zeros(4), 3071).tolist() == [False, False, True, True]
    top = np.array([3070, 3071], np.int16)
    assert calibration().untrusted(top, None, 3071).tolist() == [False, True]


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [("soft", "low_hu", -800.0), ("soft", "half_width_hu", float("nan")),
     ("soft", "high_hu", -901.0), ("bone", "covered", 1.5)],
)  # fmt: skip
def test_a_calibration_that_leaves_hu_out_or_is_absurd_is_not_used(release, name, key, value):
    content = document()
    content["bands"][name][key] = value
    with_calibration(release, json.dumps(content))
    with pytest.raises(UsageError) as caught:
        open_release(release)
    assert caught.value.code == "release-unreadable"


def test_an_old_release_has_no_intervals_and_says_so_before_the_scan_is_read(release, tmp_path):
    with pytest.raises(UsageError) as caught:
        predict_file(release, tmp_path / "no scan", tmp_path / "a.mha", interval=tmp_path / "i")
    assert caught.value.code == "no-calibration"
    assert "export again" in caught.value.remedy


def test_the_memory_of_requested_outputs_is_missing_from_the_check(
    release, scan_file, patient, model, tmp_path, monkeypatch
):
    """With just as much as a plain prediction needs, an interval or a choice is refused."""
    with_calibration(release, document())
    # Neither what earlier tests hold nor what is free on this machine counts.
    monkeypatch.setattr(memory, "resident_bytes", lambda: 0)
    monkeypatch.setattr(memory, "available_bytes", lambda: 10**12)
    graphs = open_release(release).graphs_bytes()
    cap_bytes = memory.needed_bytes(patient.grid, model, graphs)
    assert memory.require_room(patient.grid, model, cap_bytes / 1e9, graphs) == cap_bytes
    for options, asked in (
        (PredictOptions(max_ram_gb=cap_bytes / 1e9), {"interval": tmp_path / "interval"}),
        (PredictOptions(max_ram_gb=cap_bytes / 1e9, surest=1), {}),
    ):
        with pytest.raises(MachineError) as caught:
            predict_file(release, scan_file, tmp_path / "sct.mha", options=options, **asked)
        assert caught.value.code == "memory-cap"
        assert "are needed" in str(caught.value)  # before anything is computed


def test_low_high_and_the_mask_lie_on_the_scans_grid_and_the_prediction_is_unchanged(
    release, scan_file, patient, tmp_path
):
    predict_file(release, scan_file, tmp_path / "old.mha")
    with_calibration(release, document(widths=(10.0, 40.0, 200.0)))
    made = predict_file(release, scan_file, tmp_path / "new.mha", interval=tmp_path / "interval")
    assert file_sha256(tmp_path / "old.mha") == file_sha256(tmp_path / "new.mha")
    sct = read_scan(tmp_path / "new.mha", Modality.CT)
    low, high = (read_scan(tmp_path / f"interval/{n}.mha", Modality.CT) for n in ("low", "high"))
    assert low.grid.is_close(patient.grid)
    body = sct.array > -1024
    known = Calibration.from_json(document())
    expected = known.interval(sct.array[body], -1024, 3071)
    np.testing.assert_array_equal(low.array[body], expected[0])
    np.testing.assert_array_equal(high.array[body], expected[1])
    assert (high.array[~body] == -1024).all()
    mask = read_scan(tmp_path / "interval/untrusted.mha", Modality.MASK)
    assert not mask.array[~body].any()
    said = json.loads((tmp_path / "interval/interval.json").read_text())
    assert said == made["interval"]
    assert (said["nominal"], said["patients"]) == (0.9, 8)
    assert said["untrusted_share"] == pytest.approx(mask.array.sum() / made["voxels_in_body"], 1e-3)
    assert any("calibrated on 8 patients" in note for note in made["notes"])


@pytest.mark.parametrize("name", ["interval", "uncertainty"])
def test_a_result_inside_the_series_is_swept_away_when_the_series_is_put_in_place(
    release, scan_file, tmp_path, name
):
    with_calibration(release, document())
    inside = tmp_path / "sct" / f"{name}.mha"
    with pytest.raises(UsageError) as caught:
        predict_file(release, scan_file, tmp_path / "sct", **{name: inside})
    assert caught.value.code == "output-inside-output"


def test_a_dicom_interval_is_of_the_same_patient_study_and_frame(release, dicom, tmp_path):
    with_calibration(release, document())
    predict_file(
        release, dicom, tmp_path / "sct", dicom_reference=dicom, interval=tmp_path / "interval"
    )
    source = pydicom.dcmread(min(dicom.iterdir()))
    names = ["low/0000.dcm", "high/0000.dcm", "untrusted.dcm"]
    made = [pydicom.dcmread(tmp_path / "interval" / name) for name in names]
    for header in made:
        for keyword in ("PatientName", "StudyInstanceUID", "FrameOfReferenceUID"):
            assert header[keyword].value == source[keyword].value
        assert "not for clinical use" in header.SeriesDescription
    sct = pydicom.dcmread(tmp_path / "sct/0000.dcm")
    assert len({h.SeriesInstanceUID for h in [*made, sct, source]}) == 5
    low, high = (read_scan(tmp_path / "interval" / n) for n in ("low", "high"))
    middle = read_scan(tmp_path / "sct")
    assert (low.array <= middle.array).all()
    assert (middle.array <= high.array).all()
    assert made[2].pixel_array.shape == middle.grid.shape
    instance = made[2].PerFrameFunctionalGroupsSequence[0].DerivationImageSequence[0]
    assert instance.SourceImageSequence[0].ReferencedSOPInstanceUID == source.SOPInstanceUID


def test_slices_are_done_one_by_one_as_if_at_once():
    random = np.random.default_rng(0)
    hu = random.integers(-1024, 3071, (5, 7, 6)).astype(np.int16)
    sd, body = random.uniform(0, 90, hu.shape), random.random(hu.shape) < 0.6
    known = calibration()
    ends = Ends.of(known, hu, sd, body, (-1024, 3071))
    np.testing.assert_array_equal(ends.low[body], known.interval(hu[body], -1024, 3071)[0])
    np.testing.assert_array_equal(ends.untrusted[body], known.untrusted(hu[body], sd[body], 3071))
    np.testing.assert_array_equal(ends.high[~body], hu[~body])
