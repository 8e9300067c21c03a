"""DICOM series: which slices belong together, and which images are localizers or captures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import RTDoseStorage

from synthct.data.errors import DataError
from synthct.data.readers.cbct_detection import modality_of
from synthct.data.readers.entries import Entry
from synthct.data.readers.slice import Slice, frames_of
from synthct.data.readers.slice_header import IMAGES, read_slice, sop_class
from synthct.data.volume import Modality


@dataclass(frozen=True, eq=False)
class Series:
    """The slices that share one SeriesInstanceUID, in file-name order."""

    uid: str
    slices: tuple[Slice, ...]
    set_aside: int = 0
    """Localizers and captures with the same UID, which are a series of their own here."""

    @property
    def first(self) -> Dataset:
        """Header of the first slice, for what is common to all."""
        return self.slices[0].header

    @property
    def modality(self) -> Modality | None:
        """CT, CBCT, MR or DOSE; None for anything else (PET, structure sets, plans, ...)."""
        return modality_of(self.first)

    @property
    def folder(self) -> str:
        """Folder of the first slice below the source."""
        return self.slices[0].entry.name.rpartition("/")[0]

    @property
    def title(self) -> str:
        """Modality, description and number of files, for messages."""
        about = str(self.first.get("SeriesDescription", "")).strip() or self.folder or "no name"
        number = str(self.first.get("SeriesNumber") or "").strip()
        counted = f"series {number}, {len(self.slices)}" if number else f"{len(self.slices)}"
        return f"{self.first.get('Modality', '?')} {about!r} ({counted} files)"

    def called(self, selector: str) -> bool:
        """Whether ``selector`` is its UID, number or description."""
        names = (self.uid, self.first.get("SeriesNumber"), self.first.get("SeriesDescription"))
        return selector.strip() in [str(name).strip() for name in names if name not in (None, "")]


def find_series(files: Sequence[Entry], selector: str = "") -> list[Series]:
    """Every DICOM series among the files, or those called ``selector``, by first file name.

    Other files are skipped. An unreadable file raises, because it may be a slice; with ``selector``
    only one in a folder of the series does.
    """
    slices, broken = read_slices(files)
    found = [series for series in group_series(slices) if not selector or series.called(selector)]
    folders = {one.entry.name.rpartition("/")[0] for series in found for one in series.slices}
    for one in broken:
        if not selector or one.entry.name.rpartition("/")[0] in folders:
            raise one.error
    return found


@dataclass(frozen=True, eq=False)
class Broken:
    """A DICOM file that cannot be read, and why."""

    entry: Entry
    error: DataError


def read_slices(files: Sequence[Entry]) -> tuple[list[Slice], list[Broken]]:
    """The slices of all DICOM files, the frames of multi-frame ones each by itself; and the rest.

    Files that are not DICOM are skipped; unreadable ones are returned with their errors.
    """
    slices: list[Slice] = []
    broken: list[Broken] = []
    for entry in files:
        try:
            one = read_slice(entry)
            slices += [] if one is None else frames_of(one)
        except DataError as error:
            broken.append(Broken(entry, error))
    return slices, broken


def group_series(slices: Sequence[Slice]) -> list[Series]:
    """The slices by SeriesInstanceUID and kind of object; those without a UID are left out.

    Some systems give a structure set, a dose, a screen capture or a localizer the UID of its CT.
    """
    groups: dict[tuple[str, str], list[Slice]] = {}
    for one in slices:
        if "SeriesInstanceUID" in one.header:
            key = (str(one.header.SeriesInstanceUID).strip(), _object_kind(one.header))
            groups.setdefault(key, []).append(one)
    _return_slices(groups)
    return [one for (uid, _), members in groups.items() for one in _without_views(uid, members)]


def _return_slices(groups: dict[tuple[str, str], list[Slice]]) -> None:
    """Return slices with a damaged SOP class to their series.

    One wrong bit in it must not make a first or last slice an object of another kind, which would
    be left out. A slice has the plane and size of the others; a capture has not, or says what it
    is.
    """
    for (uid, kind), members in list(groups.items()):
        scan = groups.get((uid, "image"))
        if kind == "image" or not scan:
            continue
        lost = [
            one
            for one in members
            if one.header.get("ImagePositionPatient")
            and modality_of(one.header) in _IMAGED
            and "SCREEN SAVE" not in _image_type(one.header)
            and _of_one_stack(one.header, scan[0].header)
        ]
        scan += lost
        groups[uid, kind] = [one for one in members if one not in lost]
        if not groups[uid, kind]:
            del groups[uid, kind]


def _without_views(uid: str, members: Sequence[Slice]) -> list[Series]:
    """The slices of a scan, and its localizers and captures as a second series.

    Both must show it: the header says what the image is, and its plane or size is another one than
    that of the slices. An image that only says so may be a slice, so it stays among them.
    """
    slices = [one for one in members if not _is_view(one.header)]
    aside = [
        one
        for one in members
        if slices and _is_view(one.header) and not _of_one_stack(one.header, slices[0].header)
    ]
    if not aside:
        return [Series(uid, tuple(members))]
    kept = tuple(one for one in members if one not in aside)
    return [Series(uid, kept, set_aside=len(aside)), Series(uid, tuple(aside))]


def _is_view(header: Dataset) -> bool:
    return is_localizer(header) or is_capture(header)


_STACKED = ("Rows", "Columns", "PixelSpacing", "ImageOrientationPatient")


def _of_one_stack(header: Dataset, other: Dataset) -> bool:
    """Whether two images have the same size, pixel spacing and orientation."""
    try:
        pairs = [
            [np.atleast_1d(np.asarray(one.get(keyword), float)) for one in (header, other)]
            for keyword in _STACKED
        ]
    except (TypeError, ValueError):
        return False
    return all(a.shape == b.shape and np.allclose(a, b, rtol=0, atol=1e-3) for a, b in pairs)


def _object_kind(header: Dataset) -> str:
    """``image`` for all classes of CT and MR images, otherwise the SOP class itself."""
    kind = sop_class(header)
    if not kind:
        return "image" if modality_of(header) in _IMAGED else str(header.get("Modality", ""))
    return "image" if kind in IMAGES and kind != RTDoseStorage else kind


_IMAGED = (Modality.CT, Modality.CBCT, Modality.MR)


def image_series(found: Sequence[Series]) -> list[Series]:
    """The series with pixels of a modality we read.

    Of objects with one SeriesInstanceUID a capture is left out where the scan itself is present.
    """
    images = [one for one in found if one.modality is not None and "Rows" in one.first]
    scans = {one.uid for one in images if _object_kind(one.first) == "image"}
    return [
        one
        for one in images
        if one.uid not in scans
        or one.modality is Modality.DOSE
        or _object_kind(one.first) == "image"
    ]


def is_localizer(header: Dataset) -> bool:
    """Whether the image only localizes others (scout, topogram)."""
    return "LOCALIZER" in _image_type(header)


def is_capture(header: Dataset) -> bool:
    """Whether the image is a picture of a screen or a page, such as a dose report."""
    kind = _object_kind(header)
    return (kind.startswith("1.") and kind != RTDoseStorage) or "SCREEN SAVE" in _image_type(header)


def _image_type(header: Dataset) -> list[str]:
    found = header.get("ImageType") or []
    return [str(part).upper() for part in ([found] if isinstance(found, str) else found)]
