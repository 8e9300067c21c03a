"""``predict --harmonise``: what it maps, what it reports, and what it refuses."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from synthct.data.errors import DataError, UsageError
from synthct.data.files import canonical_json, write_whole
from synthct.data.readers import read_scan
from synthct.data.volume import Modality
from synthct.data.writers import write_image
from synthct.tasks.models.description import Harmonise
from synthct.tasks.prediction.checksums import write_checksums
from synthct.tasks.prediction.domain import Domain, TrainedBody, fingerprint
from synthct.tasks.prediction.options import PredictOptions
from synthct.tasks.prediction.predict import predict_file
from synthct.tasks.prediction.prepare import prepare
from synthct.tasks.prediction.release import DOMAIN
from tests.tasks.prediction.conftest import small_patient

QUANTILE = PredictOptions(tta=False, threads=1, harmonise="quantile")
PLAIN = PredictOptions(tta=False, threads=1)


@pytest.fixture
def known(release, model):
    """The release, with what the usual patient's scans hold."""
    usual = prepare(small_patient(), None, model)
    scans = [(usual.source, usual.mask)]
    body = TrainedBody.of(scans, model.source_scaling)
    prints = [fingerprint(*scan, model.source_scaling, body) for scan in scans]
    write_whole(release / DOMAIN, canonical_json(Domain.of(prints, body).as_json()))
    write_checksums(release)
    return release


@pytest.fixture
def elsewhere(tmp_path, patient):
    """The same patient from a scanner of another contrast: a bent, rising response."""
    array = patient.array.clip(0)
    bent = patient.with_array((380 * (array / 380) ** 2.5).astype(np.float32))
    write_image(tmp_path / "elsewhere.mha", bent)
    return tmp_path / "elsewhere.mha"


def hu(path):
    return read_scan(path, Modality.CT).array.astype(float)


def test_the_shift_of_another_scanner_reaches_the_networks(known, elsewhere, scan_file, tmp_path):
    predict_file(known, scan_file, tmp_path / "usual.mha", options=PLAIN)
    predict_file(known, elsewhere, tmp_path / "shifted.mha", options=PLAIN)
    report = predict_file(known, elsewhere, tmp_path / "mapped.mha", options=QUANTILE)
    usual, shifted, mapped = (hu(tmp_path / f"{n}.mha") for n in ("usual", "shifted", "mapped"))
    lost, left = np.abs(shifted - usual).mean(), np.abs(mapped - usual).mean()
    assert left < 0.2 * lost
    told = report["harmonised"]
    assert told["by"] == "quantile"
    assert told["distance_after"] < 0.1 * told["distance_before"]
    assert 0 < told["moved_mean"] <= told["moved_most"]
    assert any(
        note.startswith("harmonised (quantile): intensities moved") for note in report["notes"]
    )
    json.dumps(report)


def test_a_scan_is_harmonised_unasked_or_a_usual_one_is_moved(known, scan_file, tmp_path):
    assert predict_file(known, scan_file, tmp_path / "a.mha", options=PLAIN)["harmonised"] is None
    report = predict_file(known, scan_file, tmp_path / "b.mha", options=QUANTILE)
    assert report["harmonised"]["moved_most"] < 0.05


def test_the_picture_is_no_picture(known, elsewhere, tmp_path):
    picture = tmp_path / "moved.svg"
    predict_file(known, elsewhere, tmp_path / "a.mha", harmonise_picture=picture, options=QUANTILE)
    root = ET.parse(picture).getroot()
    lines = root.findall(".//{http://www.w3.org/2000/svg}polyline")
    assert len(lines) == 5  # three histograms, the curve, and no change
    assert "elsewhere" not in picture.read_text()


def test_a_release_that_was_trained_on_harmonised_scans_says_nothing_of_it(
    make_release, model, elsewhere, scan_file, tmp_path
):
    usual = prepare(small_patient(), None, model)
    law = TrainedBody.of([(usual.source, usual.mask)], model.source_scaling).law
    scaling = model.source_scaling.model_copy(
        update={"harmonise": Harmonise(name="quantile", law=law)}
    )
    trained = model.model_copy(update={"source_scaling": scaling})
    folder = make_release(tmp_path / "trained", trained, (0.2, 0.4))
    report = predict_file(folder, elsewhere, tmp_path / "a.mha", options=PLAIN)
    assert report["harmonised"]["by"] == "quantile"
    predict_file(folder, scan_file, tmp_path / "b.mha", options=PLAIN)
    assert np.abs(hu(tmp_path / "a.mha") - hu(tmp_path / "b.mha")).mean() < 10


def test_two_results_of_one_scan_have_the_same_uids(known, elsewhere, tmp_path):
    import pydicom

    for name, options in (("a", PLAIN), ("b", QUANTILE)):
        predict_file(known, elsewhere, tmp_path / name, options=options)
    uids = {
        str(pydicom.dcmread(next((tmp_path / n).glob("*.dcm"))).SeriesInstanceUID)
        for n in ("a", "b")
    }
    assert len(uids) == 2


def test_a_release_without_a_law_harmonises(release, elsewhere, tmp_path):
    with pytest.raises(UsageError, match="does not say which intensities") as caught:
        predict_file(release, elsewhere, tmp_path / "a.mha", options=QUANTILE)
    assert caught.value.code == "law-missing"
    assert not (tmp_path / "a.mha").exists()


def test_a_misspelt_harmoniser_is_found_after_the_networks_ran(known, elsewhere, tmp_path):
    options = PredictOptions(harmonise="quantil")
    with pytest.raises(UsageError, match="quantile") as caught:
        predict_file(known, elsewhere, tmp_path / "a.mha", options=options)
    assert caught.value.code == "unknown-harmoniser"


def test_a_picture_of_nothing_or_of_no_format_is_written(known, elsewhere, tmp_path):
    for picture, options, code in (
        ("moved.svg", PLAIN, "picture-without-harmoniser"), ("moved.png", QUANTILE, "suffix"),
    ):  # fmt: skip
        with pytest.raises(UsageError) as caught:
            predict_file(
                known, elsewhere, tmp_path / "a.mha",
                harmonise_picture=tmp_path / picture, options=options,
            )  # fmt: skip
        assert caught.value.code == code
        assert not (tmp_path / picture).exists()


def test_a_scan_whose_law_cannot_be_mapped_is_predicted(known, patient, tmp_path):
    inside = patient.array > 100
    flat = np.where(inside, np.where(patient.array > 360, patient.array, 300), 2)
    write_image(tmp_path / "flat.mha", patient.with_array(flat.astype(np.float32)))
    with pytest.raises(DataError, match="one single intensity") as caught:
        predict_file(known, tmp_path / "flat.mha", tmp_path / "a.mha", options=QUANTILE)
    assert caught.value.code == "law-unmappable"
    assert not (tmp_path / "a.mha").exists()
