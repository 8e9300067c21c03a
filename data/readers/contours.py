"""A structure set in memory: contours by structure, and which scan each was drawn on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from synthct.data.readers.drawn_on import DrawnOn


@dataclass(frozen=True, eq=False)
class Outlines:
    """A structure set: closed planar contours by structure name.

    Parameters
    ----------
    contours
        For each structure its polygons: float64 (n, 3) points, (z, y, x) [mm, LPS].
    frame, series
        FrameOfReferenceUID that most structures lie in, and SeriesInstanceUID of the images that
        were outlined, where said. A set may hold structures of other frames: ask ``drawn_on``.
    skipped
        Names of structures without closed planar contours (points, open lines).
    left_out
        What of the file is not in ``contours``, by structure: ``no-contours``, ``contour-type``
        (only points, open or non-standard contours), ``some-contours`` (beside the closed ones),
        ``unnamed-contours`` or ``damaged``.
    drawn_on
        For each structure where its coordinates hold.
    """

    contours: Mapping[str, Sequence[Any]] = field(repr=False)
    frame: str = ""
    series: str = ""
    skipped: tuple[str, ...] = ()
    drawn_on: Mapping[str, DrawnOn] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """Structures that can become masks."""
        return tuple(self.contours)

    def of_scan(self, frame_uid: str, series_uid: str = "") -> tuple[Outlines, tuple[str, ...]]:
        """The structures of one scan, and the names of those that are not (or not surely) its.

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
        """From what the readers' process gave: all points in one array, cut by lengths."""
        contours: dict[str, list[Any]] = {}
        start = 0
        for name, count in row["lengths"]:
            contours.setdefault(name, []).append(row["points"][start : start + count])
            start += count
        places = {name: DrawnOn.from_json(one) for name, one in row["drawn_on"].items()}
        skipped = tuple(row["skipped"])
        return cls(contours, row["frame"], row["series"], skipped, places, row["left_out"])
