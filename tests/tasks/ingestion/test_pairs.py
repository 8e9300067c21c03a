"""Two scans of one patient, two patients with one scan: what only a comparison shows."""

from __future__ import annotations

import base64
import itertools
import json

import numpy as np
import pytest

from synthct.data.volume import Grid, Modality, Volume
from synthct.data.writers.dicom import write_series
from synthct.tasks.ingestion import near_duplicates, pairs
from synthct.tasks.ingestion.body import body_mask
from synthct.tasks.ingestion.canonical import stored_type
from synthct.tasks.ingestion.findings import Severity
from synthct.tasks.ingestion.near_duplicates import ALIKE, SAME, fingerprint, likeness, same_image
from synthct.tasks.ingestion.pairs import frame_findings, pair_findings
from synthct.tasks.ingestion.params import BodyParams, IngestionParams
from synthct.tasks.ingestion.run import run
from tests.fixtures.clean_scans import clean_patient


@pytest.fixture(scope="session")
def thorax():
    region, patient = clean_patient(1)
    return {"ct": patient.ct, "mr": patient.sources["mr"].scan}, region


def with_body(volume, region="thorax"):
    volume = stored_type(volume)
    return volume, body_mask(volume, BodyParams(), region)


def turned(volume, axis):
    return volume.with_array(np.ascontiguousarray(np.flip(volume.array, axis)))


def codes(found):
    return {finding.code: finding.severity for finding in found}


def test_a_sound_pair_has_only_the_finding_that_its_frames_differ(thorax):
    scans, _ = thorax
    mr, ct = with_body(scans["mr"]), with_body(scans["ct"])
    assert codes(pair_findings(mr, ct, ("1.2", "1.3"))) == {"frames-differ": Severity.NOTE}
    assert pair_findings(mr, ct, ("1.2", "1.2")) == []


@pytest.mark.parametrize(("axis", "code"), [(2, "flipped-left-right"), (0, "flipped-head-feet")])
def test_a_flipped_scan_is_found_from_the_images(thorax, axis, code):
    scans, _ = thorax
    mr = with_body(turned(scans["mr"], axis))
    found = codes(pair_findings(mr, with_body(scans["ct"]), ("", "")))
    assert found == {code: Severity.QUARANTINE}


def test_a_sound_pair_that_the_coarse_registration_pulls_apart_is_not_called_flipped(
    thorax, monkeypatch
):
    """On a real thigh it slid the CT half out of a tight field of view: 0.25 nat became 0.08."""
    scans, _ = thorax
    mr, ct = with_body(scans["mr"]), with_body(scans["ct"])
    monkeypatch.setattr(pairs, "_registered", lambda *_: 0.0)
    found = pairs.fits(*mr, ct[0])
    assert found.straight > pairs.MIN_RATIO * max(found.mirrored, found.reversed_)


@pytest.mark.slow
@pytest.mark.parametrize("number", [n for n in range(30) if n % 3])  # trunks: heads are symmetric
def test_flips_of_trunks_are_found_in_twenty_patients_and_sound_pairs_are_not(number):
    region, patient = clean_patient(number)
    ct = with_body(patient.ct, region)
    mr = patient.sources["mr"].scan
    assert pair_findings(with_body(mr, region), ct, ("", "")) == []
    for axis, code in ((2, "flipped-left-right"), (0, "flipped-head-feet")):
        assert code in codes(pair_findings(with_body(turned(mr, axis), region), ct, ("", "")))


def test_no_real_pair_is_called_flipped(shared_data):
    from synthct.tasks.ingestion.patient import check_scan

    for name in ("STS_001", "STS_002"):
        folder = shared_data / "sts_mr_ct" / name
        ct = check_scan(folder / "CT_dicom", Modality.CT, "other", IngestionParams())
        mr = check_scan(folder / "MR_T1_dicom", Modality.MR, "other", IngestionParams())
        frames = (mr.facts.frame, ct.facts.frame)
        found = codes(pair_findings((mr.volume, mr.mask), (ct.volume, ct.mask), frames))
        assert set(found) <= {"frames-differ"}


def test_one_frame_of_reference_and_bodies_apart_contradict(ct, mr):
    far = Grid(mr.grid.shape, mr.grid.spacing_mm, (-30.0, -70.0, 95.0))
    apart = Volume(mr.array, far, Modality.MR)
    bodies = with_body(apart)[1], with_body(ct)[1]
    assert codes(frame_findings(*bodies, "1.2", "1.2")) == {"frame-mismatch": Severity.QUARANTINE}
    assert codes(frame_findings(*bodies, "1.2", "1.3")) == {"frames-differ": Severity.NOTE}
    assert frame_findings(with_body(mr)[1], with_body(ct)[1], "1.2", "1.2") == []


def copies(ct):
    """One CT as it might come again: noisier, coarser, cropped, windowed."""
    rng = np.random.default_rng(0)
    yield ct.with_array((ct.array + rng.normal(0, 8, ct.array.shape)).astype(np.float32))
    yield ct.with_array(np.clip(ct.array, -1000, 600))
    z, y, x = ct.array.shape
    yield ct.crop((1, 2, 3), (z - 1, y - 1, x - 2))
    coarse = ct.grid.with_spacing((ct.grid.spacing_mm[0], 4.5, 4.5))
    from synthct.data.itk import resample

    yield resample(ct, coarse, outside=-1000.0)


def test_a_copy_is_recognized_however_it_was_saved(thorax):
    ct = stored_type(thorax[0]["ct"])
    print_ = fingerprint(ct)
    for number, copy in enumerate(copies(ct)):
        assert likeness(print_, fingerprint(copy)) > ALIKE, number
        assert same_image(ct, copy) > SAME, number


def test_other_patients_and_other_days_are_no_copies(thorax):
    ct = stored_type(thorax[0]["ct"])
    other = stored_type(clean_patient(4)[1].ct)
    assert same_image(ct, other) < 0.7


def test_other_days_of_a_real_patient_are_no_copies(shared_data):
    from synthct.data.readers import read_scan

    folder = shared_data / "lung_ct_pair"
    one, other = (
        read_scan(folder / f"3DCT_lung_{day}.mha", Modality.CT) for day in ("baseline", "followup")
    )
    assert same_image(one, other) < 0.7


def test_one_image_under_two_names_is_not_trained_and_tested_on(
    context, make_raw, ct, mr, other_mr
):
    copy = ct.with_array(np.clip(ct.array + 2, -1000, 850))
    make_raw({"A": {"ct": ct, "mr": mr}, "B": {"ct": copy, "mr": other_mr}})
    run(context, IngestionParams())
    out = context.artefact("ingestion")
    rows = json.loads((out / "excluded.json").read_text())
    assert [(row["unit"], row["code"]) for row in rows] == [("B", "near-duplicate")]
    assert "A/ct" in rows[0]["problem"]
    assert not (out / "B").exists()
    run(context, IngestionParams(released=["B/ct"]))
    assert (out / "B").is_dir()


def test_a_head_feet_flip_leaves_out_the_source_only(context, make_raw, thorax):
    scans, _ = thorax
    mr = stored_type(turned(scans["mr"], 0))
    make_raw({"A": {"ct": stored_type(scans["ct"]), "mr": mr}})
    run(context, IngestionParams())
    rows = json.loads((context.artefact("ingestion") / "excluded.json").read_text())
    assert any("flipped-head-feet" in json.dumps(row) or "upside" in json.dumps(row)
               or "mirrored, " in json.dumps(row) for row in rows)  # fmt: skip


class TestPersons:
    @pytest.fixture(autouse=True)
    def _key(self, monkeypatch):
        monkeypatch.setenv("SYNTHCT_PSEUDONYM_KEY", "a key of more than sixteen characters")

    def send(self, folder, ct, number, name, born):
        write_series(folder, ct, patient_id=number, study=number, series_description="x",
                     uid_seed="p",
                     attributes={"PatientName": name, "PatientBirthDate": born})  # fmt: skip

    def refused(self, tmp_path):
        from synthct.tasks.intake import plan_intake

        plan = plan_intake([tmp_path / "pacs"], "demo", tmp_path / "raw")
        return [(row.status, [one.code for one in row.findings][-1:]) for row in plan.rows]

    def test_one_person_under_two_numbers_is_refused_once(self, tmp_path, ct):
        self.send(tmp_path / "pacs/a", ct, "1", "Doe^Jane", "19500101")
        self.send(tmp_path / "pacs/b", ct.with_array(ct.array + 1), "2", "JANE DOE", "19500101")
        found = self.refused(tmp_path)
        assert sorted(status for status, _ in found) == ["new", "refused"]
        assert ("refused", ["same-patient-twice"]) in found

    def test_two_persons_under_one_number_are_refused(self, tmp_path, ct, mr):
        self.send(tmp_path / "pacs/a", ct, "1", "Doe^Jane", "19500101")
        self.send(tmp_path / "pacs/b", mr, "1", "Roe^Max", "19610707")
        assert ("refused", ["two-persons-one-number"]) in self.refused(tmp_path)

    def test_namesakes_born_on_other_days_are_two_people(self, tmp_path, ct):
        self.send(tmp_path / "pacs/a", ct, "1", "Doe^Jane", "19500101")
        self.send(tmp_path / "pacs/b", ct.with_array(ct.array + 1), "2", "Doe^Jane", "19510101")
        assert [status for status, _ in self.refused(tmp_path)] == ["new", "new"]


def test_the_product_of_matrices_loses_a_copy_that_comparing_each_pair_finds(monkeypatch):
    rng = np.random.default_rng(2)
    prints = [rng.integers(-127, 128, 3072) for _ in range(40)]
    prints += [np.clip(prints[n] + rng.normal(0, noise, 3072), -127, 127)
               for n in range(8) for noise in (30, 60, 66, 80)]  # fmt: skip
    prints.append(np.zeros(3072))
    scans = [
        near_duplicates._Scan(
            f"P{n}", "ct", "CT" if n % 5 else "MR",
            base64.b64encode(np.rint(one).astype(np.int8).tobytes()).decode(),
        )
        for n, one in enumerate(prints)
    ]  # fmt: skip
    one_by_one = [
        (one, other)
        for one, other in itertools.combinations(scans, 2)
        if one.modality == other.modality and likeness(one.fingerprint, other.fingerprint) >= ALIKE
    ]
    assert 8 < len(one_by_one) < 100
    monkeypatch.setattr(near_duplicates, "_BLOCK", 7)
    assert list(near_duplicates._alike(scans)) == one_by_one
