"""Identifiers planted into every corner of a hospital's scans, each findable by its bytes."""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pydicom
from pydicom.datadict import dictionary_VR, keyword_for_tag
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from synthct.data.volume import Volume
from synthct.data.writers import write_image
from synthct.data.writers.dicom import write_series
from tests.data.radiotherapy import dose_file, square, structure_set

TEXTS = (
    "InstitutionName", "InstitutionAddress", "InstitutionalDepartmentName", "StationName",
    "StudyDescription", "SeriesDescription", "PerformingPhysicianName", "OperatorsName",
    "NameOfPhysiciansReadingStudy", "PhysiciansOfRecord", "RequestingPhysician",
    "ReferringPhysicianName", "ReferringPhysicianAddress", "AccessionNumber", "StudyID",
    "ProtocolName", "ImageComments", "PatientComments", "DeviceSerialNumber", "PatientAddress",
    "OtherPatientNames", "PatientBirthName", "PatientMotherBirthName", "MilitaryRank",
    "CountryOfResidence", "RegionOfResidence", "PatientTelephoneNumbers", "EthnicGroup",
    "Occupation", "AdditionalPatientHistory", "PatientReligiousPreference", "MedicalAlerts",
    "Allergies", "ResponsiblePerson", "InsurancePlanIdentification", "AdmissionID",
    "IssuerOfPatientID", "RequestedProcedureDescription", "RequestedProcedureID",
    "PerformedProcedureStepDescription", "PerformedProcedureStepID", "SoftwareVersions",
    "DerivationDescription", "DeviceDescription", "Manufacturer", "ManufacturerModelName",
    "ConvolutionKernel", "BodyPartExamined", "SequenceName", "ScanOptions", "FilterType",
    "DetectorID", "GantryID", "PlateID", "CassetteID", "ContrastBolusAgent", "ReceiveCoilName",
    "TransmitCoilName", "VisitComments", "TextComments", "PatientState", "CurrentPatientLocation",
    "PatientInstitutionResidence", "ServiceEpisodeID", "ServiceEpisodeDescription",
    "CommentsOnThePerformedProcedureStep", "InterpretationText", "DeidentificationMethod",
)  # fmt: skip
"""Elements that hold text, those included that no profile calls identifying."""

DATES = ("PatientBirthDate", "StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate",
         "AdmittingDate", "InstanceCreationDate", "DateOfLastCalibration")  # fmt: skip

UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "SOPInstanceUID")


@dataclass
class Secrets:
    """Unique texts: a prefix that occurs nowhere else, a count, the data set's number."""

    number: int
    found: list[bytes] = field(default_factory=list)

    def text(self) -> str:
        """A new name, at most 16 characters."""
        text = f"ZQ{self.number:03d}XJ{len(self.found):04d}"
        self.found.append(text.encode())
        return text

    def date(self) -> str:
        """A date that no other field has."""
        count = len(self.found) + 37 * self.number
        text = (
            f"{1903 + count % 60:04d}{1 + count % 12:02d}{1 + (count * 7 + self.number) % 28:02d}"
        )
        self.found.append(text.encode())
        return text

    def uid(self) -> str:
        """A UID of its own."""
        uid = str(generate_uid(entropy_srcs=[str(self.number), str(len(self.found))]))
        self.found.append(uid.encode())
        return uid


def plant(folder: Path, ct: Volume, mr: Volume, number: int) -> list[bytes]:
    """A hospital's folder: one patient in DICOM, one in image files; 300 secrets and more."""
    secrets = Secrets(number)
    patient = folder / secrets.text() / secrets.text()
    identity = secrets.text()
    for name, volume in (("ct", ct), ("mr", mr)):
        _series(patient / secrets.text(), name, volume, identity, secrets)
    _radiotherapy(patient / secrets.text(), identity, secrets)
    _files(folder / secrets.text(), ct, mr, secrets)
    return secrets.found


def _series(folder: Path, name: str, volume: Volume, identity: str, secrets: Secrets) -> None:
    files = write_series(folder, volume, patient_id=identity, study="1", series_description=name,
                         uid_seed=str(secrets.number))  # fmt: skip
    common = {keyword: secrets.text() for keyword in TEXTS}
    common |= {keyword: secrets.date() for keyword in DATES}
    born = b"19370514"
    secrets.found.append(born)
    common["PatientBirthDate"] = born.decode()
    common["PatientName"] = f"{secrets.text()}^{secrets.text()}"
    uids = {keyword: secrets.uid() for keyword in UIDS[:3]}
    for count, file in enumerate(files):
        dataset = pydicom.dcmread(file)
        for keyword, value in (common | uids).items():
            setattr(dataset, keyword, value)
        dataset.SOPInstanceUID = f"{uids['SeriesInstanceUID'][:50]}.{count}"
        _hide(dataset, secrets if count < 4 else Secrets(secrets.number))
        dataset.preamble = secrets.found[3].ljust(128, b"\0")
        dataset.file_meta.SourceApplicationEntityTitle = secrets.found[4].decode()
        file.unlink()
        dataset.save_as(file.with_name(f"{secrets.found[5].decode()}_{count:04d}.dcm"))


def _radiotherapy(folder: Path, identity: str, secrets: Secrets) -> None:
    """A structure set and a dose in the coordinates of the scans, with texts of their own."""
    scan = pydicom.dcmread(next(folder.parent.rglob("*.dcm")), stop_before_pixels=True)
    about = {keyword: secrets.text() for keyword in (
        "StructureSetLabel", "StructureSetName", "StructureSetDescription", "OperatorsName",
        "SeriesDescription", "ReviewerName",
    )}  # fmt: skip
    about |= {"PatientID": identity, "PatientName": secrets.text(), "StudyDate": secrets.date()}
    frame = str(scan.FrameOfReferenceUID)
    drawn = {
        secrets.text(): [square(-20, 20, z) for z in (-20.0, -15.0)],
        f"PTV {secrets.text()}": [square(-9, 9, -20.0)],
        "Bladder": [square(-12, 12, -10.0)],
    }
    structure_set(folder / f"{secrets.text()}.dcm", drawn, series=secrets.uid(), frame=frame,
                  **about)  # fmt: skip
    gray = np.full((3, 6, 6), 4_000_000)
    dose_file(folder / f"{secrets.text()}.dcm", gray, FrameOfReferenceUID=frame,
              DoseComment=secrets.text(), **about)  # fmt: skip


def _hide(dataset: Dataset, secrets: Secrets) -> None:
    """Sequences, private blocks, overlays, curves, padding."""
    item = Dataset()
    item.CodeValue, item.CodeMeaning = secrets.text(), secrets.text()
    inner = Dataset()
    inner.PersonName = secrets.text()
    item.VerifyingObserverSequence = [inner]
    for keyword in ("ProcedureCodeSequence", "RequestAttributesSequence",
                    "ReferencedPatientSequence", "OriginalAttributesSequence"):  # fmt: skip
        setattr(dataset, keyword, [item])
    for group in (0x0009, 0x0011, 0x0019, 0x0029):
        block = dataset.private_block(group, secrets.text(), create=True)
        block.add_new(0x01, "LO", secrets.text())
        block.add_new(0x02, "UN", secrets.text().encode())
    dataset.add_new((0x6000, 0x0022), "LO", secrets.text())
    dataset.add_new((0x6000, 0x3000), "OW", secrets.text().encode() + b"\0" * 8)
    dataset.add_new((0x5000, 0x2500), "LO", secrets.text())
    dataset.add_new((0xFFFC, 0xFFFC), "OB", secrets.text().encode().ljust(16, b"\0"))
    assert dictionary_VR(0x00100010) == "PN"
    assert keyword_for_tag(0x00100010) == "PatientName"


def _files(folder: Path, ct: Volume, mr: Volume, secrets: Secrets) -> None:
    """NIfTI with texts in its header, MetaImage with a comment, NRRD-like neighbours."""
    folder.mkdir(parents=True)
    name = secrets.text()
    write_image(folder / f"{name}_ct.nii.gz", ct)
    header = bytearray(gzip.decompress((folder / f"{name}_ct.nii.gz").read_bytes()))
    header[148:228] = secrets.text().encode().ljust(80, b"\0")  # descrip
    header[228:252] = secrets.text().encode().ljust(24, b"\0")  # aux_file
    header[328:344] = secrets.text().encode().ljust(16, b"\0")  # intent_name
    (folder / f"{name}_ct.nii.gz").write_bytes(gzip.compress(bytes(header)))
    write_image(folder / f"{name}_mr.mha", mr)
    data = (folder / f"{name}_mr.mha").read_bytes()
    comment = f"Comment = {secrets.text()}\nPatientID = {secrets.text()}\n".encode()
    at = data.index(b"ElementDataFile")
    (folder / f"{name}_mr.mha").write_bytes(data[:at] + comment + data[at:])
    (folder / f"{secrets.text()}.txt").write_text(secrets.text())
    broken = folder / f"{secrets.text()}.dcm"
    broken.write_bytes(secrets.text().encode())
    shutil.copy(folder / f"{name}_mr.mha", folder / f"{secrets.text()}.mha")


def leaks(secrets: Iterable[bytes], blobs: Iterable[tuple[str, bytes]]) -> Iterator[str]:
    """``SECRET in PLACE`` for each planted text in a blob or in the name of its place."""
    wanted = sorted(set(secrets))
    for place, blob in blobs:
        text = place.encode() + b"\0" + blob
        for one in wanted:
            if one in text:
                yield f"{one.decode()} in {place}"


def files_below(*folders: Path) -> Iterator[tuple[str, bytes]]:
    """Name below its folder, and bytes, of every file (gzip opened)."""
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            if path.is_file() and not path.is_symlink():
                data = path.read_bytes()
                if data[:2] == b"\x1f\x8b":
                    data += gzip.decompress(data)
                yield path.relative_to(folder).as_posix(), data


def random_body(number: int) -> tuple[Volume, Volume]:
    """A small CT and MR, different for each number."""
    from synthct.data.volume import Grid, Modality

    rng = np.random.default_rng(number)
    z, y, x = np.indices((12, 40, 48))
    wide, high = rng.uniform(14, 19), rng.uniform(11, 15)
    body = ((y - 20) / high) ** 2 + ((x - 24) / wide) ** 2 <= 1 - 0.02 * np.abs(z - 6)
    texture = rng.normal(0, 12, body.shape)
    ct = np.where(body, 40.0, -1000.0) + texture
    ct[(np.hypot(y - 28, x - 24) < 3) & body] = 700
    mr = np.abs(np.where(body, 300.0, 0.0) + texture)
    grid = Grid(body.shape, (5.0, 4.0, 4.0), (-30.0, -80.0, -95.0))
    return (
        Volume(np.rint(ct).astype(np.int16), grid, Modality.CT),
        Volume(np.rint(mr).astype(np.float32), grid, Modality.MR),
    )
