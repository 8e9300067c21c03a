"""Values that :mod:`synthct.data.readers.reference_series` returns: plain, without DICOM."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synthct.data.readers.contours import DrawnOn
from synthct.data.readers.header_facts import grid_from_json
from synthct.data.volume import Grid


@dataclass(frozen=True, eq=False)
class SeriesHeaders:
    """An image series without its voxels.

    Parameters
    ----------
    series, study, frame
        Its UIDs; empty where the series has none.
    grid
        Its grid.
    instances
        (SOP class, SOP instance) of each slice, in the order of the volume's slices.
    texts
        The elements that were asked for, by keyword. They may name the patient.
    """

    series: str
    study: str
    frame: str
    grid: Grid
    instances: tuple[tuple[str, str], ...]
    texts: Mapping[str, str | list[str]] = field(repr=False)

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> SeriesHeaders:
        """What the readers' process gave."""
        instances = tuple((str(kind), str(uid)) for kind, uid in row["instances"])
        grid = grid_from_json(row["grid"])
        return cls(
            str(row["series"]), str(row["study"]), str(row["frame"]), grid, instances,
            dict(row["texts"]),
        )  # fmt: skip


@dataclass(frozen=True, eq=False)
class Contour:
    """One contour: its elements as DICOM JSON but for the points, (n, 3) in (z, y, x) [mm]."""

    item: Mapping[str, Any]
    points_mm: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Structure:
    """One structure of a set.

    Parameters
    ----------
    number
        ROINumber.
    definition, drawn, observed
        Its items of the three sequences of a structure set, as DICOM JSON without names of people,
        private elements and references to images; ``drawn`` is None without contours.
    contours
        Of every geometric type.
    drawn_on
        The scan on which it was drawn.
    """

    number: int
    definition: Mapping[str, Any] = field(repr=False)
    drawn: Mapping[str, Any] | None = field(repr=False)
    observed: tuple[Mapping[str, Any], ...] = field(repr=False)
    contours: tuple[Contour, ...] = field(repr=False)
    drawn_on: DrawnOn


@dataclass(frozen=True, eq=False)
class StructureSet:
    """A complete structure set, for writing it again; masks need :class:`Outlines`."""

    uid: str
    texts: Mapping[str, str | list[str]]
    structures: tuple[Structure, ...]

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> StructureSet:
        """What the readers' process gave: all points in one array, cut by counts."""
        structures, start = [], 0
        for one in row["structures"]:
            contours = []
            for contour in one["contours"]:
                stop = start + int(contour["count"])
                contours.append(Contour(contour["item"], row["points"][start:stop]))
                start = stop
            structures.append(
                Structure(
                    int(one["number"]), one["definition"], one["drawn"], tuple(one["observed"]),
                    tuple(contours), DrawnOn.from_json(one["drawn_on"]),
                )
            )  # fmt: skip
        return cls(str(row["uid"]), dict(row["texts"]), tuple(structures))
