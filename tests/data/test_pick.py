"""The one volume of a folder is found whatever lies beside it, and never guessed."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest
from pydicom.uid import SecondaryCaptureImageStorage, generate_uid

from synthct.data.errors import DataError, UsageError
from synthct.data.readers import describe, find, pick_series, read_scan
from synthct.data.volume import Modality, Volume
from synthct.data.writers import write_image
from tests.fixtures.outcomes import DICOM, shows_read

FOREIGN = {
    "a localizer": {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]},
    "a capture": {"SOPClassUID": SecondaryCaptureImageStorage,
                  "ImageType": ["DERIVED", "SECONDARY", "SCREEN SAVE"]},
    "a dose report": {"SOPClassUID": SecondaryCaptureImageStorage},
    "a capture called an image": {"ImageType": ["DERIVED", "SECONDARY", "SCREEN SAVE"]},
}  # fmt: skip


@pytest.fixture
def folder(tmp_path, oblique, write_ct):
    """An MR of twelve slices, series 3, called t1."""
    mr = Volume(oblique.array, oblique.grid, Modality.MR)
    write_ct(tmp_path / "scan", mr, series="t1", SeriesNumber=3)
    return tmp_path / "scan"


def add(folder, **about):
    """One slice more, of a series of its own."""
    dataset = pydicom.dcmread(sorted(folder.glob("*.dcm"))[0])
    dataset.SeriesInstanceUID, dataset.SOPInstanceUID = generate_uid(), generate_uid()
    dataset.SeriesNumber = 99
    for keyword, value in about.items():
        setattr(dataset, keyword, value)
    dataset.save_as(folder / "00-first.dcm")


@shows_read(DICOM, "a localizer, capture, report or dose beside the scan", "ignored")
@pytest.mark.parametrize("name", FOREIGN)
def test_what_lies_beside_a_scan_is_not_the_scan(folder, oblique, name):
    add(folder, **FOREIGN[name])
    scan = read_scan(folder, series=pick_series(folder))
    assert np.array_equal(scan.array, oblique.array)
    assert describe(folder).grid.shape == oblique.grid.shape
    kinds = sorted(row.kind for row in find(folder))
    assert kinds == sorted(["scan", "localizer" if name == "a localizer" else "capture"])


def test_volumes_of_two_modalities_are_distinguished_by_what_is_wanted(
    tmp_path, folder, oblique, write_ct
):
    for file in write_ct(tmp_path / "ct", oblique, series="planning", SeriesNumber=7):
        file.rename(folder / f"ct-{file.name}")
    with pytest.raises(DataError, match=r"2 series could be meant.*--series"):
        pick_series(folder)
    picked = {kind: pick_series(folder, wanted=[kind]) for kind in (Modality.CT, Modality.MR)}
    for kind, uid in picked.items():
        assert describe(folder, series=uid).modality is kind


@shows_read(
    DICOM, "several scans in one folder", "`--series` chooses by number, description or UID"
)
@pytest.mark.parametrize("said", ["4", "t2", "uid"])
def test_a_series_is_chosen_by_number_description_or_uid(tmp_path, folder, oblique, write_ct, said):
    other = Volume(oblique.array + 1, oblique.grid, Modality.MR)
    for file in write_ct(tmp_path / "t2", other, series="t2", SeriesNumber=4,
                         SeriesDescription="t2"):  # fmt: skip
        uid = str(pydicom.dcmread(file, stop_before_pixels=True).SeriesInstanceUID)
        file.rename(folder / f"t2-{file.name}")
    chosen = pick_series(folder, uid if said == "uid" else said, [Modality.MR])
    assert chosen == uid
    assert np.array_equal(read_scan(folder, series=chosen).array, other.array)
    with pytest.raises(DataError, match="called 'dixon'"):
        pick_series(folder, "dixon")


def test_a_lone_localizer_is_still_what_the_folder_holds(tmp_path, oblique, write_ct):
    write_ct(tmp_path / "s", oblique, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    assert describe(tmp_path / "s").grid.shape == oblique.grid.shape


def test_a_series_of_a_file_that_is_no_dicom_is_a_mistake_of_use(tmp_path, oblique):
    write_image(tmp_path / "ct.mha", oblique)
    assert pick_series(tmp_path / "ct.mha") == ""
    with pytest.raises(UsageError, match="leave out --series"):
        pick_series(tmp_path / "ct.mha", "3")
