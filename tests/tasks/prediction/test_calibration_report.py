"""``predict`` reports the HU of soft tissue in a cone-beam scan; a gain changes no result."""

from __future__ import annotations

import numpy as np
import pytest

from synthct.data.readers import read_scan
from synthct.data.volume import Grid, Modality, Volume
from synthct.data.writers import write_image
from synthct.tasks.models.description import SourceScaling
from synthct.tasks.prediction.predict import predict_file

GRID = Grid((12, 48, 40), (6.0, 2.0, 2.0))


def cone_beam(gain=1.0, offset=0.0):
    z, y, x = np.meshgrid(*[np.linspace(-1, 1, n) for n in GRID.shape], indexing="ij")
    random = np.random.default_rng(3)
    hu = np.where((y / 0.8) ** 2 + (x / 0.7) ** 2 < 1, 40 + 30 * np.sin(9 * y + z), -1000)
    hu = hu + random.normal(0, 8, GRID.shape)
    return Volume((gain * hu + offset).astype(np.float32), GRID, Modality.CBCT)


def predicted(folder, scan, tmp_path, name):
    write_image(tmp_path / f"{name}.mha", scan)
    report = predict_file(folder, tmp_path / f"{name}.mha", tmp_path / f"{name}_sct.mha")
    return report, read_scan(tmp_path / f"{name}_sct.mha", Modality.CT).array


def of_cbct(model, kind):
    return model.model_copy(update={"source": "cbct", "source_scaling": SourceScaling(kind=kind)})


def test_the_report_says_how_the_scan_was_calibrated(make_release, model, tmp_path):
    folder = make_release(tmp_path / "release", of_cbct(model, "two_point"), (1.0,))
    report, _ = predicted(folder, cone_beam(gain=0.9, offset=-60.0), tmp_path, "off")
    told = report["calibration"]
    assert told["air"] == pytest.approx(-960, abs=8)
    assert told["gain"] == pytest.approx(1 / 0.9, rel=0.04)
    assert any("calibrated blindly to 40 and -1000 HU" in note for note in report["notes"])


def test_a_gain_and_an_offset_of_the_scanner_change_no_answer(make_release, model, tmp_path):
    folder = make_release(tmp_path / "release", of_cbct(model, "two_point"), (1.0,))
    _, plain = predicted(folder, cone_beam(), tmp_path, "plain")
    _, shown = predicted(folder, cone_beam(gain=1.2, offset=75.0), tmp_path, "shown")
    assert np.abs(plain.astype(int) - shown).max() <= 3


def test_an_older_model_predicts_as_before_and_its_report_has_the_calibration(
    make_release, model, tmp_path
):
    folder = make_release(tmp_path / "release", of_cbct(model, "min_p99.5"), (1.0,))
    report, _ = predicted(folder, cone_beam(), tmp_path, "scan")
    assert report["calibration"]["added_at_soft_tissue_hu"] == pytest.approx(0, abs=40)
    assert not any("calibrated blindly" in note for note in report["notes"])


def test_an_mr_has_no_calibration(release, patient, tmp_path):
    report, _ = predicted(release, patient, tmp_path, "mr")
    assert report["calibration"] is None
