"""Image files are ingested with the facts in their names, folders and manifest."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import SimpleITK as sitk

from synthct.data.errors import UsageError
from synthct.data.readers import read_scan
from synthct.data.volume import Modality
from synthct.data.writers import write_image
from synthct.tasks.intake import plan_intake
from synthct.tasks.intake.manifest import read_manifest
from synthct.tasks.intake.pseudonym import Pseudonyms
from tests.fixtures.intake import KEY, ingest, tree

pytestmark = pytest.mark.usefixtures("pseudonym_key")


def where(plan, scan):
    """The file behind the one scan of this kind."""
    (row,) = (row for row in plan.rows if row.scan == scan)
    return plan.places[row.place]


class TestImageFiles:
    @pytest.fixture
    def case(self, tmp_path, ct, mr):
        folder = tmp_path / "files" / "1ABA001"
        write_image(folder / "ct.nii.gz", ct)
        write_image(folder / "MR_T1.mha", mr)
        write_image(folder / "mask.mha", ct.with_array(ct.array > 0, Modality.MASK))
        return folder

    def test_file_names_and_voxels_together_say_ct_or_mr(self, case, tmp_path, ct):
        plan, result = ingest([case], tmp_path / "raw")
        assert [(row.scan, row.format) for row in plan.rows] == [
            ("ct", "nifti"),
            ("mr", "metaimage"),
        ]
        assert "taken from the file name" in plan.rows[0].findings[-1].sentence
        assert any("mask" in note for note in plan.notes)
        taken = read_scan(tmp_path / "raw" / f"{result.added[0]}.mha", Modality.CT)
        assert np.array_equal(taken.array, ct.array)

    def test_a_ct_and_an_mr_of_two_visits_are_not_paired_without_a_word(self, case, tmp_path):
        for name, visit in (("ct.nii.gz", "visit1"), ("MR_T1.mha", "visit2")):
            (case / visit).mkdir()
            (case / name).rename(case / visit / name)
        plan = plan_intake([case.parent], "demo", tmp_path / "raw")
        assert {row.scan for row in plan.rows} == {"ct", "mr"}
        assert any("another day or visit than its CT" in note for note in plan.notes)

    def test_a_name_that_the_voxels_deny_is_refused(self, case, tmp_path):
        shutil.copy(case / "MR_T1.mha", case / "ct.mha")
        (case / "ct.nii.gz").unlink()
        plan, _ = ingest([case], tmp_path / "raw")
        assert {row.scan: row.status for row in plan.rows} == {"ct": "refused", "mr": "new"}

    def test_a_name_cannot_say_cbct_but_a_manifest_can(self, case, tmp_path):
        (case / "ct.nii.gz").rename(case / "cbct.nii.gz")
        plan = plan_intake([case], "demo", tmp_path / "raw")
        assert [row.scan for row in plan.rows] == ["mr"]
        assert any("manifest" in note for note in plan.notes)
        manifest = tmp_path / "files" / "manifest.csv"
        manifest.write_text("path,patient,modality,region\n1ABA001/cbct.nii.gz,Max,CBCT,thorax\n")
        plan = plan_intake([case], "demo", tmp_path / "raw", manifest)
        said = {row.scan: (row.patient, row.region) for row in plan.rows}
        assert said["cbct"] == (Pseudonyms(KEY.encode()).patient("Max"), "thorax")
        assert said["mr"][1] == "other"

    def test_a_manifest_chooses_between_two_scans_of_a_patient(self, case, tmp_path, mr):
        write_image(case / "mr_t2.mha", mr.crop((0,) * 3, (12, 48, 56)))
        plan = plan_intake([case], "demo", tmp_path / "raw")
        assert where(plan, "mr").endswith("MR_T1.mha")
        (tmp_path / "m.csv").write_text(
            "path,patient,modality,region\nfiles/1ABA001/mr_t2.mha,,MR,\n"
        )
        plan = plan_intake([case], "demo", tmp_path / "raw", tmp_path / "m.csv")
        assert where(plan, "mr").endswith("mr_t2.mha")
        assert any("another scan than" in note for note in plan.notes)

    @pytest.mark.parametrize("written", [
        b"\xef\xbb\xbfpath,patient,modality,region\r\n1ABA001/cbct.nii.gz,Max,CBCT,thorax\r\n",
        b"Path;Patient;Modality;Region;about\r\n1ABA001/cbct.nii.gz;Max;cbct;thorax;x\r\n;;;;\r\n",
        b"path;patient;modality;region\r\n.\\1ABA001\\cbct.nii.gz;Max;CBCT;thorax\r\n",
        b"sep=;\r\npath;patient;modality;region\r\n1ABA001/cbct.nii.gz;Max;CBCT;thorax\r\n",
        "path\tpatient\tmodality\tregion\n1ABA001/cbct.nii.gz\tMax\tCBCT\tthorax\n".encode("utf-16"),
        b'"path";"patient";"modality";"region"\n"1ABA001/cbct.nii.gz";"Max";"CBCT";"thorax"\n',
    ], ids=["mark", "semicolons", "backslashes", "sep", "UTF-16", "quoted"])  # fmt: skip
    def test_a_manifest_is_read_as_a_spreadsheet_saves_it(self, case, tmp_path, written):
        (case / "ct.nii.gz").rename(case / "cbct.nii.gz")
        manifest = case.parent / "m.csv"
        manifest.write_bytes(written)
        (row,) = read_manifest(manifest).values()
        assert (row.patient, row.modality, row.region) == ("Max", Modality.CBCT, "thorax")

    def test_an_umlaut_is_read_however_it_was_saved(self, tmp_path):
        (tmp_path / "Müller").mkdir()
        for number, data in enumerate(["Müller".encode("cp1252"), "Mu\u0308ller".encode()]):
            manifest = tmp_path / f"{number}.csv"
            manifest.write_bytes(b"path;patient;modality;region\n" + data + b";7;;\n")
            assert [row.patient for row in read_manifest(manifest).values()] == ["7"]

    def test_a_manifest_that_says_two_things_of_one_file_is_a_mistake_of_use(self, case, tmp_path):
        (case / "m.csv").write_text(
            "path,patient,modality,region\nct.nii.gz,A,CT,\nct.nii.gz,B,CT,\n"
        )
        with pytest.raises(UsageError, match="names a path once"):
            read_manifest(case / "m.csv")

    def test_texts_in_headers_stay_behind(self, case, tmp_path):
        image = sitk.ReadImage(str(case / "MR_T1.mha"))
        image.SetMetaData("Comment", "ZQSECRET Jane Doe")
        sitk.WriteImage(image, str(case / "MR_T1.mha"))
        assert b"ZQSECRET" in (case / "MR_T1.mha").read_bytes()
        ingest([case], tmp_path / "raw")
        blob = b"".join(name.encode() + data for name, data in tree(tmp_path / "raw").items())
        assert b"ZQSECRET" not in blob
        assert b"1ABA001" not in blob

    @pytest.mark.parametrize("text", ["path,patient\n", "", "path,patient,modality,region\nno,,,\n",
                                      "path,patient,modality,region\n1ABA001,,PET,\n"])  # fmt: skip
    def test_a_wrong_manifest_is_a_mistake_of_use(self, case, tmp_path, text):
        (tmp_path / "files" / "m.csv").write_text(text)
        with pytest.raises(UsageError, match="manifest"):
            plan_intake([case], "demo", tmp_path / "raw", tmp_path / "files" / "m.csv")


class TestPatientFrom:
    """``--patient-from``: the user says which folder names the patient."""

    @pytest.fixture
    def days(self, tmp_path, ct, mr):
        """Two patients with the same folders below."""
        folder = tmp_path / "export"
        for patient in ("Meier", "Huber"):
            write_image(folder / patient / "fx1" / "ct.nii.gz", ct)
            write_image(folder / patient / "fx1" / "mr.nii.gz", mr)
        return folder

    def scans(self, plan):
        found = {}
        for row in plan.rows:
            found.setdefault(row.patient, set()).add(row.scan)
        return found

    def names(self, *patients):
        known = Pseudonyms(KEY.encode())
        return {known.patient(patient): {"ct", "mr"} for patient in patients}

    @pytest.mark.parametrize(("level", "patients"), [(1, ["Meier", "Huber"]), (2, ["fx1"])])
    def test_the_folder_of_another_level_names_the_patient(self, days, tmp_path, level, patients):
        plan = plan_intake([days], "demo", tmp_path / "raw", patient_from=level)
        assert self.scans(plan) == self.names(*patients)

    def test_a_manifest_does_not_win(self, days, tmp_path):
        manifest = days / "m.csv"
        manifest.write_text("path,patient,modality,region\nMeier,Schmid,,\n")
        plan = plan_intake([days], "demo", tmp_path / "raw", manifest, patient_from=1)
        assert self.scans(plan) == self.names("Schmid", "Huber")

    def test_a_level_that_no_scan_has_is_taken_in_silence(self, days, tmp_path):
        with pytest.raises(UsageError, match="no scan lies 3 folders below a source; the deepest"):
            plan_intake([days], "demo", tmp_path / "raw", patient_from=3)
        with pytest.raises(UsageError, match="the deepest lies 0 below"):
            plan_intake([days / "Meier/fx1/ct.nii.gz"], "demo", tmp_path / "raw", patient_from=1)
