"""Geometry of RTK's parameters from its file; ``rtk_writer`` writes it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synthct.data.readers import read_projection_files
from synthct.data.tomography.cone_beam import ConeBeam
from synthct.data.tomography.sinogram import Sinogram
from synthct.data.tomography.views import Views

Parameters = Mapping[str, NDArray[np.float64]]

_CONSTANT = (
    "SourceToIsocenterDistance", "SourceToDetectorDistance", "ProjectionOffsetX",
    "ProjectionOffsetY",
)  # fmt: skip
_ZERO = ("SourceOffsetX", "SourceOffsetY", "InPlaneAngle", "OutOfPlaneAngle")


def read_projections(image: Path, geometry: Path, *, open_beam: float | None = None) -> Sinogram:
    """A stack of projections and RTK's geometry file, read in the confined process.

    The geometry becomes a :class:`ConeBeam` where it is a circle with a still detector, else
    :class:`Views`.
    """
    found = read_projection_files(image, geometry)
    view = {name: np.asarray(values, np.float64) for name, values in found["views"].items()}
    shape = found["values"].shape[1:]
    first, pixel = found["first_mm"], found["pixel_mm"]
    beam = _circle(view, shape, first, pixel) or _views(view, shape, first, pixel)
    return Sinogram(found["values"], beam, open_beam)


def _circle(
    view: Parameters, shape: tuple[int, int], first: list[float], pixel: list[float]
) -> ConeBeam | None:
    still = all(np.ptp(view[name]) < 1e-6 for name in _CONSTANT)
    if not still or any(np.abs(view[name]).max() > 1e-6 for name in _ZERO):
        return None
    offsets = view["ProjectionOffsetY"][0], view["ProjectionOffsetX"][0]
    middle = tuple(
        start + (count - 1) / 2 * size + offset
        for start, count, size, offset in zip(first, shape, pixel, offsets, strict=True)
    )
    return ConeBeam(
        tuple(np.deg2rad(view["GantryAngle"]).tolist()), shape, (pixel[0], pixel[1]),
        float(view["SourceToIsocenterDistance"][0]), float(view["SourceToDetectorDistance"][0]),
        detector_shift_mm=(float(middle[0]), float(middle[1])),
    )  # fmt: skip


def _views(
    view: Parameters, shape: tuple[int, int], first: list[float], pixel: list[float]
) -> Views:
    axes = rotations(view)  # rows: the rotated system's axes

    def placed(x: Any, y: Any, z: Any) -> NDArray[np.float64]:
        rotated = np.stack(np.broadcast_arrays(x, y, z), axis=-1).astype(np.float64)
        return _patient(np.einsum("nij,ni->nj", axes, np.broadcast_to(rotated, (len(axes), 3))))

    near, far = view["SourceToIsocenterDistance"], view["SourceToDetectorDistance"]
    zero = np.zeros_like(near)
    return Views(
        placed(view["SourceOffsetX"], view["SourceOffsetY"], near),
        placed(
            first[1] + view["ProjectionOffsetX"], first[0] + view["ProjectionOffsetY"], near - far
        ),
        placed(zero + pixel[1], zero, zero),
        placed(zero, zero + pixel[0], zero),
        shape,
    )


def _patient(rtk: NDArray[np.float64]) -> NDArray[np.float64]:
    """RTK's (x, y, z) = (left, head, front) as the patient's (z, y, x) = (head, back, left)."""
    return np.stack([rtk[:, 1], -rtk[:, 2], rtk[:, 0]], axis=-1)


def rotations(view: Parameters) -> NDArray[np.float64]:
    """Rows: the rotated system's axes in RTK's (x, y, z), (views, 3, 3)."""
    gantry, out, turn = (
        np.deg2rad(view[name]) for name in ("GantryAngle", "OutOfPlaneAngle", "InPlaneAngle")
    )
    return _about(2, -turn) @ _about(0, -out) @ _about(1, -gantry)


def _about(axis: int, angle: NDArray[np.float64]) -> NDArray[np.float64]:
    first, second = (axis + 1) % 3, (axis + 2) % 3
    matrix = np.zeros((len(angle), 3, 3))
    matrix[:, axis, axis] = 1
    matrix[:, first, first] = matrix[:, second, second] = np.cos(angle)
    matrix[:, second, first] = np.sin(angle)
    matrix[:, first, second] = -np.sin(angle)
    return matrix
