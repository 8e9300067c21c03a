"""Selects the one volume among the DICOM series of a source, as ``synthct ingest`` does.

Localizers, screen captures, dose reports and doses with a scan are not candidates.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from synthct.data.errors import DataError
from synthct.data.readers.formats import format_by_name
from synthct.data.readers.series import Series, image_series, is_capture, is_localizer
from synthct.data.volume import Modality

ONE_OF = (
    "name one by its number, description or UID with --series (a command of several scans has "
    "--fixed-series, --reference-series and so on), or give each its own folder"
)


def picked(
    series: Sequence[Series], source: Path, selector: str = "", wanted: Collection[Modality] = ()
) -> Series:
    """The one candidate series.

    Parameters
    ----------
    series
        All series of ``source``, or those that ``selector`` names.
    wanted
        Accepted modalities, where the source holds volumes of several. A dose is chosen only where
        it is wanted or alone.
    """
    found = image_series(series)
    rules = (
        lambda one: (one.modality is Modality.DOSE) == (Modality.DOSE in wanted),
        lambda one: not is_localizer(one.first),
        lambda one: not is_capture(one.first),
        lambda one: one.modality in wanted,
    )
    for holds in rules[: len(rules) if wanted else -1]:
        if len(found) > 1:
            found = [one for one in found if holds(one)] or found
    if len(found) == 1:
        return found[0]
    named = "; ".join(one.title for one in found[:4])
    if found:
        problem = f"{len(found)} series could be meant: {named}"
    else:
        problem = (
            f"no CT or MR series is called {selector!r}"
            if selector
            else "there are no CT or MR images in DICOM"
        )
    images = 0 if found else _image_files(source)
    if images:
        problem += f", and {images} image file{'' if images == 1 else 's'} of other formats"
    raise DataError(
        problem,
        rule="a DICOM source holds one CT or MR volume",
        where=str(source),
        remedy=ONE_OF
        if found
        else "give an image file itself, not its folder"
        if images
        else "give the folder of the images",
        code="several-series" if found else "no-series",
    )


def _image_files(source: Path) -> int:
    """Number of image files of other formats in a folder."""
    found = source.rglob("*") if source.is_dir() else ()
    return sum(path.is_file() and format_by_name(path.name) is not None for path in found)
