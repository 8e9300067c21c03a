"""Each structure goes to the scan of its own frame of reference, or is left out with a note."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from synthct.data.readers import read_scan
from synthct.data.volume import Grid, Modality, Volume
from synthct.data.writers.dicom import write_series
from synthct.tasks.intake import plan_intake, run_intake
from tests.fixtures.radiotherapy import square, structure_set

OFF_MM = (0.0, 40.0, -36.0)
"""Where the MR of another day has its origin, against the CT's (z, y, x)."""


@pytest.fixture(autouse=True)
def _key(monkeypatch):
    monkeypatch.setenv("SYNTHCT_PSEUDONYM_KEY", "a key of more than sixteen characters")


@pytest.fixture
def pacs(tmp_path, ct, mr):
    """CT and MR of one patient in two frames of reference, 54 mm apart."""
    origin = tuple(np.add(mr.grid.origin_mm, OFF_MM))
    moved = Volume(mr.array, Grid(mr.grid.shape, mr.grid.spacing_mm, origin), Modality.MR)
    frames = {}
    for name, volume in {"ct": ct, "mr": moved}.items():
        frame = generate_uid()
        for file in write_series(tmp_path / "pacs" / name, volume, patient_id="DOE", study="1",
                                 series_description=name, uid_seed="t"):  # fmt: skip
            dataset = pydicom.dcmread(file)
            dataset.FrameOfReferenceUID = frame
            dataset.save_as(file)
        frames[name] = (frame, str(dataset.SeriesInstanceUID))
    return tmp_path / "pacs", frames


def add_set(pacs, said):
    """Heart on the CT, Liver 54 mm away on the MR; ``said`` gives each its frame, '' for none."""
    folder, frames = pacs
    z, y, x = OFF_MM
    liver = [(a + x, b + y, c + z) for a, b, c in square(-11.5, 11.5, -10.0)]
    places = {"Heart": [square(-11.5, 11.5, -10.0)], "Liver": [liver]}
    file = structure_set(folder / "rt" / "RS.dcm", places, PatientID="DOE")
    dataset = pydicom.dcmread(file)
    dataset.ReferencedFrameOfReferenceSequence = []
    for frame, series in frames.values():
        image, study, place = Dataset(), Dataset(), Dataset()
        image.SeriesInstanceUID = series
        study.RTReferencedSeriesSequence = [image]
        place.FrameOfReferenceUID, place.RTReferencedStudySequence = frame, [study]
        dataset.ReferencedFrameOfReferenceSequence.append(place)
    for item in dataset.StructureSetROISequence:
        if said[item.ROIName]:
            item.ReferencedFrameOfReferenceUID = frames.get(said[item.ROIName], ("1.2.3",))[0]
    dataset.save_as(file)
    return plan_intake([folder], "demo", folder.parent / "raw")


def told(plan):
    return {row.scan: " ".join(one.sentence for one in row.findings)
            for row in plan.rows if row.scan.startswith("structures")}  # fmt: skip


def test_structures_of_two_frames_are_drawn_on_two_scans(pacs):
    plan = add_set(pacs, {"Heart": "ct", "Liver": "mr"})
    found = told(plan)
    assert set(found) == {"structures-ct", "structures-mr"}
    assert "heart" in found["structures-ct"]
    assert "liver" not in found["structures-ct"]
    assert "liver" in found["structures-mr"]
    run_intake(plan)
    raw = plan.folder / plan.rows[0].patient / "structures"
    assert [file.name for file in sorted(raw.rglob("*.mha"))] == ["heart.mha", "liver.mha"]
    centres = {}
    for file in raw.rglob("*.mha"):
        mask = read_scan(file, Modality.MASK)
        centres[file.stem] = mask.grid.points(np.argwhere(mask.array > 0)).mean(axis=0)
    assert centres["heart"] == pytest.approx([-10.0, 0.5, 0.5])
    assert centres["liver"] == pytest.approx(np.add([-10.0, 0.5, 0.5], OFF_MM))


def test_a_structure_of_an_absent_frame_is_left_out_and_reported(pacs):
    found = told(add_set(pacs, {"Heart": "ct", "Liver": "elsewhere"}))
    assert set(found) == {"structures-ct"}
    assert "left out: liver (" in found["structures-ct"]


def test_a_structure_that_names_no_frame_among_two_is_on_no_scan(pacs):
    found = told(add_set(pacs, {"Heart": "ct", "Liver": ""}))
    assert set(found) == {"structures-ct"}
    assert "left out: liver (" in found["structures-ct"]


def test_a_set_of_isocentres_alone_is_refused(pacs):
    """Exports of a cone-beam CT have such a set: three points, and nothing to mend."""
    folder, frames = pacs
    file = structure_set(
        folder / "rt" / "RS.dcm", {"AcqIsocenter": [square(-5, 5, -10.0)], "Laser": []},
        series=frames["ct"][1], frame=frames["ct"][0], PatientID="DOE",
    )  # fmt: skip
    dataset = pydicom.dcmread(file)
    contour = dataset.ROIContourSequence[0].ContourSequence[0]
    contour.ContourGeometricType, contour.NumberOfContourPoints = "POINT", 1
    contour.ContourData = contour.ContourData[:3]
    dataset.save_as(file)
    plan = plan_intake([folder], "demo", folder.parent / "raw")
    assert plan.refused == ()
    assert [row.scan for row in plan.rows] == ["ct", "mr"]
    assert any("2 structures, all of them points, open lines or empty" in one for one in plan.notes)
