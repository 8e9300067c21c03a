"""Straight beams through a patient: water-equivalent path length and proton range."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import affine_transform

from synthct.tasks.evaluation.pair import Floats, Mask

GANTRY_DEG = (0.0, 90.0, 180.0, 270.0)
"""Angles of the beams: 0 enters at the front (anterior), 90 at the patient's left."""


@dataclass(frozen=True, eq=False)
class BeamView:
    """A volume (Z, depth, across) in the coordinates of one beam, and its depth step [mm]."""

    values: NDArray[Any]
    step_mm: float


def beam_view(
    volume: NDArray[Any],
    spacing_mm: tuple[float, float, float],
    gantry_deg: float,
    *,
    outside: float = 0.0,
    nearest: bool = False,
) -> BeamView:
    """Rotate (Z, Y, X) so that the beam runs along axis 1, entering at index 0.

    Multiples of 90 degrees only permute the array; other angles interpolate in the axial plane
    (linear, or nearest for masks) at the finer of the two in-plane spacings.
    """
    quarter, rest = divmod(gantry_deg % 360, 90)
    if rest == 0:
        turned = volume
        if quarter in (1, 3):  # the beam runs along x
            turned = np.swapaxes(volume, 1, 2)
        if quarter in (1, 2):  # array x grows to the left, y to the back
            turned = turned[:, ::-1]
        return BeamView(turned, spacing_mm[1 if quarter in (0, 2) else 2])
    return _turned(volume, spacing_mm, np.deg2rad(gantry_deg), outside, nearest)


def _turned(
    volume: NDArray[Any],
    spacing_mm: tuple[float, float, float],
    angle: float,
    outside: float,
    nearest: bool,
) -> BeamView:
    step = min(spacing_mm[1:])
    size_mm = np.array(volume.shape[1:]) * spacing_mm[1:]
    side = int(np.ceil(np.linalg.norm(size_mm) / step))
    # Columns are the directions (y, x) of one step along the beam and of one step across it.
    along, across = (np.cos(angle), -np.sin(angle)), (np.sin(angle), np.cos(angle))
    turn = np.array([along, across]).T * step / np.array(spacing_mm[1:])[:, None]
    centre = (np.array(volume.shape[1:]) - 1) / 2
    offset = centre - turn @ np.full(2, (side - 1) / 2)
    matrix = np.eye(3)
    matrix[1:, 1:] = turn
    values = affine_transform(
        volume.astype(np.float64), matrix, (0.0, *offset), (volume.shape[0], side, side),
        order=0 if nearest else 1, cval=outside,
    )  # fmt: skip
    return BeamView(values, step)


def path_length_mm(density: BeamView) -> Floats:
    """Water-equivalent path length from the entrance to each voxel's far face [mm]."""
    return np.asarray(np.cumsum(density.values, axis=1) * density.step_mm)


def path_errors_mm(
    reference: BeamView, prediction: BeamView, mask: BeamView
) -> NDArray[np.float64]:
    """Error of the path length (prediction - reference) at every voxel in the mask [mm], (n,)."""
    error = path_length_mm(prediction) - path_length_mm(reference)
    return np.asarray(error[np.asarray(mask.values) > 0.5])


def path_error_map_mm(
    reference: Floats, prediction: Floats, spacing_mm: tuple[float, float, float], gantry_deg: float
) -> Floats:
    """Error of the path length at every voxel [mm], on the grid (Z, Y, X) of the densities.

    Only for beams along the array's axes (multiples of 90 degrees); others raise ValueError.
    """
    quarter, rest = divmod(gantry_deg % 360, 90)
    if rest:
        raise ValueError(f"gantry_deg must be a multiple of 90 here, got {gantry_deg:g}")
    known, guess = (beam_view(one, spacing_mm, gantry_deg) for one in (reference, prediction))
    error = path_length_mm(guess) - path_length_mm(known)
    if quarter in (1, 2):
        error = error[:, ::-1]
    return np.swapaxes(error, 1, 2) if quarter in (1, 3) else error


def range_errors_mm(
    reference: BeamView, prediction: BeamView, mask: BeamView
) -> NDArray[np.float64]:
    """Range error in the prediction of protons aimed at the middle of the body [mm], (n,).

    For each ray through the mask the proton's range is the reference's path length to the middle
    of the ray's masked voxels. The error is its stopping depth in the prediction minus that in the
    reference (positive: too deep). Rays on which it leaves the image are excluded.
    """
    inside: Mask = np.asarray(mask.values) > 0.5
    count = inside.sum(axis=1)
    rays = count > 0
    first = inside.argmax(axis=1)
    last = inside.shape[1] - 1 - inside[:, ::-1].argmax(axis=1)
    middle = ((first + last) // 2)[rays]
    known = _along(path_length_mm(reference), rays)
    ranges = known[np.arange(len(middle)), middle]
    stop = _stops(_along(path_length_mm(prediction), rays), ranges)
    error = (stop - (middle + 1)) * reference.step_mm
    return np.asarray(error[np.isfinite(error)])


def _along(values: Floats, rays: Mask) -> Floats:
    """(rays, depth)."""
    return np.asarray(np.moveaxis(values, 1, -1)[rays])


def _stops(lengths: Floats, ranges: Floats) -> Floats:
    """Depth [voxels, at faces] at which each path length reaches its range; NaN if it does not."""
    reached = lengths >= ranges[:, None] - 1e-9
    at = reached.argmax(axis=1)
    rows = np.arange(len(at))
    after = lengths[rows, at]
    before = np.where(at > 0, lengths[rows, np.maximum(at - 1, 0)], 0.0)
    step = np.maximum(after - before, 1e-12)
    depth = at + np.clip((ranges - before) / step, 0, 1)
    return np.asarray(np.where(reached.any(axis=1), depth, np.nan))


def attenuation(hu: NDArray[Any]) -> Floats:
    r"""Linear attenuation relative to water, :math:`\max(0, 1 + HU/1000)`."""
    return np.asarray(np.maximum(0.0, 1.0 + np.asarray(hu, dtype=np.float64) / 1000.0))


def radiograph_mm(water: BeamView) -> Floats:
    """Parallel-beam integral of the attenuation relative to water [mm of water], (Z, across).

    In units of water the beam's energy cancels; scatter and divergence are not modelled.
    """
    return np.asarray(water.values.sum(axis=1) * water.step_mm)
