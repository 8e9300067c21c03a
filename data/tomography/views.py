"""Where source and detector stand at each view: any orbit, detector shift or tilt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synthct.data.tomography.cone_beam import ConeBeam

Points = NDArray[np.float64]

TILT_TOLERANCE = 1e-6
"""Largest share of a detector's row vector that may leave the volume's z axis in the fast path."""


@dataclass(frozen=True)
class Views:
    """Source and detector of each view in patient coordinates (z, y, x) [mm].

    Pixel (v, u) of view n is centred at ``corner_mm[n] + v * along_v_mm[n] + u * along_u_mm[n]``.

    Parameters
    ----------
    source_mm, corner_mm, along_u_mm, along_v_mm
        (views, 3) each: the focal spot, the centre of pixel (0, 0), and the vectors from one pixel
        to the next along u and along v.
    detector_shape
        Pixels (rows V, columns U).
    """

    source_mm: Points
    corner_mm: Points
    along_u_mm: Points
    along_v_mm: Points
    detector_shape: tuple[int, int]

    def __post_init__(self) -> None:
        shapes = {
            name: getattr(self, name).shape
            for name in ("source_mm", "corner_mm", "along_u_mm", "along_v_mm")
        }
        if len(set(shapes.values())) != 1 or self.source_mm.shape[1:] != (3,):
            raise ValueError(f"positions of views have the shapes {shapes}; each is (views, 3)")
        if len(self.source_mm) == 0 or min(self.detector_shape) < 1:
            raise ValueError(
                f"there are {len(self.source_mm)} views of {self.detector_shape} pixels; "
                "a sinogram has at least one of each"
            )

    @property
    def sinogram_shape(self) -> tuple[int, int, int]:
        """(views, V, U)."""
        return len(self.source_mm), *self.detector_shape

    def chosen(self, index: NDArray[Any] | slice) -> Views:
        """Some of the views, in the order of ``index``."""
        return Views(
            self.source_mm[index], self.corner_mm[index], self.along_u_mm[index],
            self.along_v_mm[index], self.detector_shape,
        )  # fmt: skip


def views_of(beam: ConeBeam) -> Views:
    """The views of a circular orbit."""
    angles = np.asarray(beam.angles_rad, np.float64)
    cosine, sine, zero = np.cos(angles), np.sin(angles), np.zeros_like(angles)
    centre = np.asarray(beam.isocentre_mm, np.float64)
    towards = np.stack([zero, -cosine, sine], axis=1)  # from the axis to the source
    along_u = np.stack([zero, sine, cosine], axis=1) * beam.pixel_mm[1]
    along_v = np.tile([beam.pixel_mm[0], 0.0, 0.0], (len(angles), 1))
    middle = centre - towards * (beam.source_detector_mm - beam.source_axis_mm)
    v, u = (float(beam.offsets_mm(axis)[0]) / beam.pixel_mm[axis] for axis in (0, 1))
    return Views(
        centre + towards * beam.source_axis_mm,
        middle + v * along_v + u * along_u,
        along_u,
        along_v,
        beam.detector_shape,
    )
