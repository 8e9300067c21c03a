"""Readers of scans: strict, and in a process of their own (``data/readers/process``).

DICOM folders and zips (CT, MR, cone-beam CT, RTDOSE, RTSTRUCT; classic and enhanced multi-frame),
NIfTI, MetaImage, NRRD, OME-Zarr 0.4 and 0.5. A hostile or damaged file raises a
:class:`~synthct.data.errors.DataError` here; it cannot use up the memory or time of the caller or
open other files.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

from synthct.data.errors import UsageError
from synthct.data.files import RECEIPT
from synthct.data.readers import projections as projection_files
from synthct.data.readers import reference_series
from synthct.data.readers import requests as inside
from synthct.data.readers.contents import Found, Outlines
from synthct.data.readers.formats import format_by_name, format_of
from synthct.data.readers.header_facts import ScanFacts, grid_from_json
from synthct.data.readers.headers import Contour, SeriesHeaders, Structure, StructureSet
from synthct.data.readers.process import call
from synthct.data.readers.rasterise import mask_of
from synthct.data.volume import Displacement, Grid, Modality, Volume

__all__ = [
    "Contour",
    "Found",
    "Outlines",
    "ScanFacts",
    "SeriesHeaders",
    "Structure",
    "StructureSet",
    "describe",
    "find",
    "format_by_name",
    "format_of",
    "pick_series",
    "read_displacement_image",
    "read_mask",
    "read_projection_files",
    "read_reference_series",
    "read_scan",
    "read_scan_and_facts",
    "read_structure_sets",
    "read_structures",
]  # fmt: skip


def read_scan(
    path: Path,
    modality: Modality | None = None,
    *,
    series: str = "",
    require_finite: bool = True,
) -> Volume:
    """Read a scan of any format; damaged, ambiguous or incomplete data raise.

    Parameters
    ----------
    path
        DICOM folder or zip, ``.nii``, ``.nii.gz``, ``.mha``, ``.mhd`` or ``.nrrd`` that holds its
        voxels, OME-Zarr folder.
    modality
        What the voxels measure. DICOM states it (a disagreement raises); for other formats it must
        be given.
    series
        SeriesInstanceUID, where a DICOM source holds several.
    require_finite
        Raise when a voxel is NaN or infinite; ingestion reads and repairs them.
    """
    return read_scan_and_facts(path, modality, series=series, require_finite=require_finite)[0]


def read_scan_and_facts(
    path: Path,
    modality: Modality | None = None,
    *,
    series: str = "",
    require_finite: bool = True,
) -> tuple[Volume, ScanFacts]:
    """:func:`read_scan` and :func:`describe` in one pass over the files."""
    with _with_voxels(path) as source:
        answer = call(
            inside.scan,
            reads=[source],
            preload=_libraries(source),
            path=str(source),
            modality=str(modality) if modality else None,
            series=series,
            require_finite=require_finite,
        )
    facts = ScanFacts.from_json(answer["facts"])
    return Volume(answer["array"], facts.grid, Modality(answer["modality"])), facts


def describe(path: Path, *, series: str = "") -> ScanFacts:
    """Format, modality, grid and sequence facts, without decoding voxels."""
    answer = call(
        inside.facts, reads=[path], preload=_libraries(path), path=str(path), series=series
    )
    return ScanFacts.from_json(answer)


def pick_series(path: Path, selector: str = "", wanted: Collection[Modality] = ()) -> str:
    """SeriesInstanceUID of the one volume in a DICOM folder or zip; empty for other formats.

    Localizers, captures, dose reports and doses with the scan do not count, as in ``ingest``.
    Several candidate volumes raise an error that lists them.

    Parameters
    ----------
    selector
        UID, number or description of the series, as given by ``--series``.
    wanted
        Accepted modalities, where the source holds volumes of several.
    """
    if format_of(path) != "dicom":
        if selector:
            raise UsageError(
                f"series {selector!r} was given for a file that is not DICOM",
                rule="a series is chosen in a DICOM folder or zip",
                where=str(path),
                remedy="leave out --series",
                code="series-of-a-file",
            )
        return ""
    return str(
        call(inside.series_uid, reads=[path], path=str(path), selector=selector,
             wanted=[str(one) for one in wanted])
    )  # fmt: skip


def find(source: Path) -> list[Found]:
    """Contents of a source: scans, structure sets, doses, and unreadable files.

    Folders are walked at any depth, zips in them too; no voxel is decoded. One row is a DICOM
    series, an image file or an OME-Zarr folder; a damaged file is a row with its error, so that one
    bad file does not hide the others.
    """
    return [Found.from_json(row) for row in call(inside.found, reads=[source], path=str(source))]


def read_structures(path: Path) -> Outlines:
    """The contours of an RTSTRUCT file (or of the one in a folder or zip) by structure name."""
    return Outlines.from_json(call(inside.structures, reads=[path], path=str(path)))


def read_reference_series(
    path: Path, keywords: Sequence[str], *, series: str = ""
) -> tuple[SeriesHeaders, list[StructureSet]]:
    """Headers of one image series of a DICOM folder or zip, and the structure sets with it.

    Parameters
    ----------
    keywords
        DICOM keywords to return as text; nothing else of the headers is returned.
    series
        SeriesInstanceUID, where a source holds several.
    """
    answer = call(
        reference_series.headers_and_sets,
        reads=[path],
        path=str(path),
        keywords=list(keywords),
        series=series,
    )
    sets = [StructureSet.from_json(one) for one in answer["sets"]]
    return SeriesHeaders.from_json(answer["headers"]), sets


def read_structure_sets(path: Path) -> list[StructureSet]:
    """Every structure set of a file, folder or zip, with contours of every type."""
    answer = call(reference_series.structure_sets, reads=[path], path=str(path))
    return [StructureSet.from_json(one) for one in answer]


def read_mask(path: Path, structure: str, grid: Grid) -> Volume:
    """One structure of an RTSTRUCT file as a mask on ``grid`` (that of the outlined series)."""
    return mask_of(read_structures(path), structure, grid)


def read_displacement_image(path: Path) -> Displacement:
    """Read a ``.mha`` that :func:`synthct.data.writers.write_displacement_image` wrote."""
    answer = call(inside.displacement, reads=[path], path=str(path))
    return Displacement(answer["vectors"], grid_from_json(answer["grid"]))


def read_projection_files(image: Path, geometry: Path) -> dict[str, Any]:
    """Projections and RTK's parameters, as :func:`.projections.projections` returns them."""
    answer: dict[str, Any] = call(
        projection_files.projections, reads=[image, geometry], preload=_libraries(image),
        image=str(image), geometry=str(geometry),
    )  # fmt: skip
    return answer


@contextlib.contextmanager
def _with_voxels(path: Path) -> Iterator[Path]:
    """The path, or the local copy of a stored array whose voxels are on an object store.

    The readers' process has no network access.
    """
    if not (path / RECEIPT).is_file():
        yield path
        return
    from synthct.data.store.local_copies import pinned
    from synthct.data.store.volumes import require_whole

    with pinned(path, require_whole(path)) as copy:
        yield copy


def _libraries(path: Path) -> tuple[str, ...]:
    """Packages that the format needs beyond those that a reader's process preloads."""
    return ("zarr",) if any((path / name).exists() for name in ("zarr.json", ".zattrs")) else ()
