"""A structure set in memory: contours by structure, and the scan on which each was drawn.

A set may hold structures in several frames of reference (PS3.3 C.8.8.5): each names its own,
(3006,0024). The images to which its contours refer state the frame a second time. Where the two
contradict each other, the structure is assigned to no scan, because coordinates in a wrong frame
look plausible.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pydicom.dataset import Dataset


@dataclass(frozen=True)
class DrawnOn:
    """The scan in whose coordinates a structure was drawn.

    Parameters
    ----------
    frame_uid
        FrameOfReferenceUID; empty where the file does not state it or contradicts itself.
    series_uids
        SeriesInstanceUIDs of the images that its contours refer to or, where they refer to none,
        of all series that the set lists for its frame of reference.
    series_certain
        Whether the contours themselves named the series, or the set lists no other.
    contradicts
        The structure names one frame of reference and the images of its contours lie in another.
    """

    frame_uid: str = ""
    series_uids: tuple[str, ...] = ()
    series_certain: bool = False
    contradicts: bool = False

    def lies_on(self, frame_uid: str, series_uid: str = "") -> bool | None:
        """Whether the structure's coordinates are those of a scan.

        Parameters
        ----------
        frame_uid, series_uid
            FrameOfReferenceUID and SeriesInstanceUID of the scan; empty where it has none.

        Returns
        -------
        bool or None
            True: it belongs to the scan. False: it is in another frame of reference, or
            contradicts itself. None: neither the set nor the scan determines it.
        """
        if self.contradicts:
            return False
        named = bool(series_uid) and series_uid in self.series_uids
        if self.frame_uid and frame_uid:
            if self.frame_uid == frame_uid:
                return True
            if not named:
                return False
            # A frame that was replaced (some exports draw new UIDs): the images decide.
            return True if self.series_certain else None
        return True if named else None

    def as_json(self) -> dict[str, Any]:
        """All plain values."""
        return {**vars(self), "series_uids": list(self.series_uids)}

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> DrawnOn:
        """What :meth:`as_json` gave."""
        return cls(**{**row, "series_uids": tuple(row["series_uids"])})


@dataclass(frozen=True)
class _Listed:
    """Content of the Referenced Frame of Reference Sequence."""

    series: Mapping[str, Sequence[str]]
    """Series by frame of reference."""
    images: Mapping[str, tuple[str, str]]
    """Frame of reference and series by SOPInstanceUID."""


def drawn_on(dataset: Dataset) -> dict[int, DrawnOn]:
    """For each ROINumber of a structure set the scan on which it was drawn."""
    listed = _listed(dataset)
    pictures = {
        roi_number(roi, "ReferencedROINumber"): set(_images(roi))
        for roi in dataset.get("ROIContourSequence") or []
    }
    return {
        roi_number(roi, "ROINumber"): _one(
            str(roi.get("ReferencedFrameOfReferenceUID") or "").strip(),
            pictures.get(roi_number(roi, "ROINumber"), set()),
            listed,
        )
        for roi in dataset.get("StructureSetROISequence") or []
    }


def roi_number(item: Dataset, keyword: str) -> int:
    """The number of a structure; -1 where it has none that can be read."""
    try:
        return int(item[keyword].value)
    except (KeyError, TypeError, ValueError):
        return -1


def _one(stated: str, pictures: set[str], listed: _Listed) -> DrawnOn:
    seen = sorted({listed.images[uid] for uid in pictures if uid in listed.images})
    frames = sorted({frame for frame, _ in seen if frame})
    series = tuple(sorted({uid for _, uid in seen if uid}))
    if len(frames) > 1 or (frames and stated in listed.series and stated != frames[0]):
        return DrawnOn("", series, series_certain=bool(series), contradicts=True)
    only = next(iter(listed.series)) if len(listed.series) == 1 else ""
    frame = frames[0] if frames else stated or only
    if series:
        return DrawnOn(frame, series, series_certain=True)
    every = [uid for uids in listed.series.values() for uid in uids]
    return DrawnOn(frame, tuple(listed.series.get(frame, ())), series_certain=len(every) == 1)


def _listed(dataset: Dataset) -> _Listed:
    series: dict[str, list[str]] = {}
    images: dict[str, tuple[str, str]] = {}
    for place in dataset.get("ReferencedFrameOfReferenceSequence") or []:
        frame = str(place.get("FrameOfReferenceUID") or "").strip()
        of_frame = series.setdefault(frame, [])
        for study in place.get("RTReferencedStudySequence") or []:
            for one in study.get("RTReferencedSeriesSequence") or []:
                uid = str(one.get("SeriesInstanceUID") or "").strip()
                of_frame += [uid] if uid and uid not in of_frame else []
                images |= dict.fromkeys(_images_of(one), (frame, uid))
    return _Listed(series, images)


def _images(roi: Dataset) -> Iterator[str]:
    for contour in roi.get("ContourSequence") or []:
        yield from _images_of(contour)


def _images_of(item: Dataset) -> Iterator[str]:
    for image in item.get("ContourImageSequence") or []:
        yield str(image.get("ReferencedSOPInstanceUID") or "").strip()


@dataclass(frozen=True, eq=False)
class Outlines:
    """A structure set: closed planar contours by structure name.

    Parameters
    ----------
    contours
        For each structure its polygons: float64 (n, 3) points, (z, y, x) [mm, LPS].
    frame, series
        FrameOfReferenceUID that most structures lie in, and SeriesInstanceUID of the images that
        were outlined, where stated. A set may hold structures of other frames, see ``drawn_on``.
    skipped
        Names of structures without closed planar contours (points, open lines).
    left_out
        What of the file is not in ``contours``, by structure: ``no-contours``, ``contour-type``
        (only points, open or non-standard contours), ``some-contours`` (beside the closed ones),
        ``unnamed-contours`` or ``damaged``.
    drawn_on
        For each structure the scan on which it was drawn.
    exclusive
        Names of structures with CLOSEDPLANAR_XOR contours: all of one plane are combined by
        exclusive or (PS3.3 C.8.8.6.3).
    """

    contours: Mapping[str, Sequence[Any]] = field(repr=False)
    frame: str = ""
    series: str = ""
    skipped: tuple[str, ...] = ()
    drawn_on: Mapping[str, DrawnOn] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)
    exclusive: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Structures that can become masks."""
        return tuple(self.contours)

    def of_scan(self, frame_uid: str, series_uid: str = "") -> tuple[Outlines, tuple[str, ...]]:
        """The structures of one scan, and the names of those that may not belong to it.

        Parameters
        ----------
        frame_uid, series_uid
            FrameOfReferenceUID and SeriesInstanceUID of the scan; empty where it has none.
        """
        own = [
            name
            for name in self.names
            if self.drawn_on.get(name, DrawnOn()).lies_on(frame_uid, series_uid)
        ]
        kept = replace(self, contours={name: self.contours[name] for name in own})
        return kept, tuple(name for name in self.names if name not in own)

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Outlines:
        """From the result of the readers' process: all points in one array, split by lengths."""
        contours: dict[str, list[Any]] = {}
        start = 0
        for name, count in row["lengths"]:
            contours.setdefault(name, []).append(row["points"][start : start + count])
            start += count
        places = {name: DrawnOn.from_json(one) for name, one in row["drawn_on"].items()}
        skipped = tuple(row["skipped"])
        return cls(contours, row["frame"], row["series"], skipped, places, row["left_out"],
                   tuple(row["exclusive"]))  # fmt: skip
