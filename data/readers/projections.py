r"""Projections and geometry of RTK: an image stack beside ``ThreeDCircularProjectionGeometry``.

The geometry's file format: RTK's documentation, "RTK 3D circular projection geometry". A rotated
system is reached by :math:`R = R_z(-in\,plane) R_x(-out\,of\,plane) R_y(-gantry)`; in it the
source is at (SourceOffsetX, SourceOffsetY, SID), and pixel (u, v) at (u + ProjectionOffsetX,
v + ProjectionOffsetY, SID - SDD). RTK's axes (x, y, z) are the patient's (left, head, front).
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np

from synthct.data.errors import DataError
from synthct.data.readers.checks import as_data_errors
from synthct.data.readers.formats import RAW, format_by_name
from synthct.data.volume import Modality

LARGEST_GEOMETRY_BYTES = 64 << 20

_ROOT = "RTKThreeDCircularGeometry"
_NAMES = {
    "SourceToIsocenterDistance": None, "SourceToDetectorDistance": None, "GantryAngle": None,
    "ProjectionOffsetX": 0.0, "ProjectionOffsetY": 0.0, "SourceOffsetX": 0.0, "SourceOffsetY": 0.0,
    "InPlaneAngle": 0.0, "OutOfPlaneAngle": 0.0,
}  # fmt: skip
"""Parameters of a view and their defaults; None: it must be stated."""

_IGNORED = {"Matrix"}  # follows from the parameters
_REFUSED = {"RadiusCylindricalDetector", "CollimationUInf", "CollimationUSup", "CollimationVInf",
            "CollimationVSup"}  # fmt: skip


def projections(image: str, geometry: str) -> dict[str, Any]:
    """Values (views, V, U), pixel positions of the first pixel and sizes (v, u), and parameters.

    Parameters
    ----------
    image
        MetaImage, NRRD or NIfTI with u along its first axis, v along the second and views along the
        third.
    geometry
        The XML file.
    """
    with as_data_errors(image):
        kind = format_by_name(Path(image).name)
        if not Path(image).is_file():
            raise DataError(
                "there is no such file",
                rule="the projections of a scan are one image file",
                where=image,
                remedy="check the path",
                code="no-file",
            )
        if kind is None:
            raise DataError(
                "the projections are not in a known image format",
                rule="projections are a .mha, .nrrd or .nii file with one slice per view",
                where=image,
                code="unknown-format",
            )
        volume = RAW[kind](Path(image), Modality.CT)
    if not np.allclose(volume.grid.direction, np.eye(3)):
        raise DataError(
            "the axes of the projections are rotated",
            rule="projections have u, v and view along the axes of their image",
            where=image,
            code="rotated-projections",
        )
    parameters = _parameters(geometry)
    return {
        "values": np.ascontiguousarray(volume.array, np.float32),
        "first_mm": [volume.grid.origin_mm[1], volume.grid.origin_mm[2]],
        "pixel_mm": [volume.grid.spacing_mm[1], volume.grid.spacing_mm[2]],
        "views": {name: [view[name] for view in parameters] for name in _NAMES},
    }


def _parameters(path: str) -> list[dict[str, float]]:
    file = Path(path)
    if not file.is_file():
        raise DataError(
            "there is no such file",
            rule="projections come with the file of their geometry",
            where=path,
            remedy="check the path",
            code="no-file",
        )
    if file.stat().st_size > LARGEST_GEOMETRY_BYTES:
        raise _broken(path, f"it has {file.stat().st_size >> 20} MiB")
    try:
        text = file.read_text("utf-8")
        if "<!ENTITY" in text:
            raise _broken(path, "it defines entities")
        root = ElementTree.fromstring(text)
    except (UnicodeDecodeError, ElementTree.ParseError) as error:
        raise _broken(path, f"it is not XML ({error})") from None
    if root.tag != _ROOT:
        raise _broken(path, f"its root is <{root.tag}>")
    shared = _numbers(path, root)
    views = [{**shared, **_numbers(path, view)} for view in root.iter("Projection")]
    if not views:
        raise _broken(path, "it has no <Projection>")
    for number, view in enumerate(views):
        for name, default in _NAMES.items():
            if name not in view:
                if default is None:
                    raise _broken(path, f"view {number} has no <{name}>")
                view[name] = default
        if not 0 < view["SourceToIsocenterDistance"] < view["SourceToDetectorDistance"]:
            raise _broken(
                path,
                f"view {number} has its source {view['SourceToIsocenterDistance']:g} mm from the "
                f"axis and {view['SourceToDetectorDistance']:g} mm from the detector",
            )
    return views


def _numbers(path: str, element: ElementTree.Element) -> dict[str, float]:
    found = {}
    for child in element:
        if child.tag in _REFUSED and (child.text or "").strip():
            raise _broken(path, f"it has <{child.tag}>, which is not supported")
        if child.tag not in _NAMES:
            if child.tag in _IGNORED or child.tag == "Projection" or child.tag in _REFUSED:
                continue
            raise _broken(path, f"it has an unknown <{child.tag}>")
        try:
            value = float(child.text or "")
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise _broken(path, f"<{child.tag}> is {child.text!r}")
        found[child.tag] = value
    return found


def _broken(path: str, what: str) -> DataError:
    return DataError(
        f"the geometry cannot be used: {what}",
        rule="the geometry is an RTKThreeDCircularGeometry file in mm and degrees",
        where=path,
        remedy="write it with RTK's rtksimulatedgeometry or one of its importers",
        code="bad-geometry",
    )
