"""Projections as an image stack with RTK's geometry file.

Apart from the reader, so that what only writes projections does not depend on all readers.
"""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from synthct.data.errors import UsageError
from synthct.data.files import write_whole
from synthct.data.tomography.cone_beam import ConeBeam
from synthct.data.tomography.sinogram import Sinogram
from synthct.data.volume import Grid, Modality, Volume
from synthct.data.writers import write_image


def write_projections(image: Path, geometry: Path, sinogram: Sinogram) -> None:
    """Write an image stack and the XML file, as RTK and our own reader expect them.

    Raises
    ------
    UsageError
        ``not-circular``: RTK's parameters describe no such orbit.
    """
    beam = sinogram.geometry
    if not isinstance(beam, ConeBeam) or any(beam.isocentre_mm):
        raise UsageError(
            "the orbit is not a circle around the origin",
            rule="RTK's geometry file describes circles around the origin",
            where=str(geometry),
            code="not-circular",
        )
    origin = (0.0, float(beam.offsets_mm(0)[0]), float(beam.offsets_mm(1)[0]))
    grid = Grid(sinogram.values.shape, (1.0, *beam.pixel_mm), origin)
    write_image(image, Volume(sinogram.values, grid, Modality.CT))
    root = ElementTree.Element("RTKThreeDCircularGeometry", version="3")
    _number(root, "SourceToIsocenterDistance", beam.source_axis_mm)
    _number(root, "SourceToDetectorDistance", beam.source_detector_mm)
    for angle in beam.angles_rad:
        view = ElementTree.SubElement(root, "Projection")
        _number(view, "GantryAngle", float(np.rad2deg(angle)) % 360.0)
    ElementTree.indent(root)
    text = ElementTree.tostring(root, encoding="unicode")
    write_whole(geometry, f'<?xml version="1.0"?>\n<!DOCTYPE RTKGEOMETRY>\n{text}\n')


def _number(parent: ElementTree.Element, name: str, value: float) -> None:
    ElementTree.SubElement(parent, name).text = repr(value)
