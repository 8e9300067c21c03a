"""What `synthct predict` refuses is named, and nothing is written."""

from __future__ import annotations

import numpy as np
import pytest

from synthct.data.errors import DataError, SynthctError, UsageError
from synthct.data.volume import Modality
from synthct.data.writers import write_image
from synthct.data.writers.dicom import write_series
from synthct.tasks.prediction.predict import predict_file


def series_of(tmp_path, volume):
    write_series(
        tmp_path / "other", volume, patient_id="X", study="s", series_description="d", uid_seed="x"
    )
    return tmp_path / "other"


def test_a_ct_given_to_an_mr_model_is_refused(release, patient, tmp_path):
    ct = series_of(
        tmp_path, patient.with_array(np.zeros(patient.grid.shape, np.int16), Modality.CT)
    )
    with pytest.raises(DataError) as caught:
        predict_file(release, ct, tmp_path / "sct.mha")
    assert caught.value.code == "wrong-modality"
    assert not (tmp_path / "sct.mha").exists()


def test_bad_inputs_are_named_and_nothing_is_written(release, patient, tmp_path):
    thin = patient.crop((0, 0, 0), (2, 48, 40))
    nan = patient.array.copy()
    nan[3] = np.nan
    empty = patient.with_array(np.zeros(patient.grid.shape, np.uint8), Modality.MASK)
    write_image(tmp_path / "empty.mha", empty)
    flat = patient.with_array(np.full(patient.grid.shape, 7, np.float32))
    full = patient.with_array(np.ones(patient.grid.shape, np.uint8), Modality.MASK)
    write_image(tmp_path / "full.mha", full)
    cases = [
        (thin, None, "few-slices"),
        (patient.with_array(nan), None, "not-finite"),
        (patient, tmp_path / "empty.mha", "mask-empty"),
        (flat, tmp_path / "full.mha", "constant"),
    ]
    for volume, mask, code in cases:
        write_image(tmp_path / "bad.mha", volume)
        with pytest.raises(SynthctError) as caught:
            predict_file(release, tmp_path / "bad.mha", tmp_path / "sct", mask=mask)
        assert caught.value.code == code
        blamed = mask if code == "mask-empty" else tmp_path / "bad.mha"
        assert caught.value.where == str(blamed)  # a batch of scans: which one?
    assert not [path for path in tmp_path.iterdir() if "sct" in path.name]


@pytest.mark.parametrize(
    ("out", "options", "code"),
    [
        ("sct.png", {}, "unknown-suffix"),
        ("scan.mha", {}, "output-is-input"),
        ("sct.mha", {"uncertainty": "sct.mha"}, "output-is-input"),
        ("sct.mha", {"dicom_reference": "ref"}, "reference-without-series"),
        ("taken", {}, "out-not-empty"),
    ],
)
def test_an_output_that_cannot_be_is_named_before_anything_runs(
    release, scan_file, tmp_path, out, options, code
):
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").touch()
    paths = {name: tmp_path / value for name, value in options.items()}
    with pytest.raises(UsageError) as caught:
        predict_file(release, scan_file, tmp_path / out, **paths)
    assert caught.value.code == code
