"""Cone-beam CT by projection: beam hardening, scatter, counting noise, truncation, FDK."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from synthct.data.phantom.anatomy import Anatomy
from synthct.data.phantom.ct import HIGH_HU, hu_raster
from synthct.data.phantom.deformation import Deformation
from synthct.data.phantom.imager import Imager, line_integrals, materials, shown_hu
from synthct.data.phantom.sampling import sample
from synthct.data.tomography.cone_beam import ConeBeam, forward_project
from synthct.data.tomography.fdk import field_of_view, reconstruct
from synthct.data.volume import Grid, Modality, Volume


def cbct_scan(
    anatomy: Anatomy,
    grid: Grid,
    deformation: Deformation,
    geometry: ConeBeam,
    imager: Imager,
    rng: np.random.Generator,
    *,
    projected_mm: float,
) -> Volume:
    """The CBCT of the CBCT day on ``grid``, the imager's fill value outside its field of view.

    The body is projected on voxels of ``projected_mm`` that reach as far as the anatomy, so that
    anatomy outside the reconstructed box still attenuates the rays.
    """
    room = anatomy.grid.with_spacing((projected_mm, projected_mm, projected_mm))
    raster = materials(hu_raster(anatomy, "cbct"), imager.bone_start_hu)
    content = sample(raster, anatomy.grid, room, deformation)
    lengths = path_lengths_mm(content, room, geometry)
    return scan_of_lengths(lengths, grid, geometry, imager, rng)


def path_lengths_mm(content: NDArray[np.float32], room: Grid, geometry: ConeBeam) -> torch.Tensor:
    """Path lengths (2, views, V, U) [mm] through water and bone content (2, Z, Y, X).

    ``room`` is a grid of cubic voxels, along the axes of the patient.
    """
    content, room = _trimmed(content, room)
    step_mm = 1.25 * room.spacing_mm[0]
    return forward_project(torch.from_numpy(content), room, geometry, step_mm)


def scan_of_lengths(
    lengths_mm: torch.Tensor,
    grid: Grid,
    geometry: ConeBeam,
    imager: Imager,
    rng: np.random.Generator,
) -> Volume:
    """The CBCT that an imager makes of path lengths in water and bone (2, views, V, U) [mm]."""
    integrals = line_integrals(lengths_mm, geometry, imager, rng)
    attenuation = reconstruct(integrals, grid, geometry, window=imager.window, backend="torch")
    hu = shown_hu(attenuation, imager)
    seen = field_of_view(grid, geometry)
    low = min(-1024.0, imager.fill_hu)
    stored = torch.where(seen, hu.clamp(-1024.0, float(HIGH_HU)), float(imager.fill_hu))
    return Volume(np.rint(stored.clamp(min=low).numpy()).astype(np.int16), grid, Modality.CBCT)


def _trimmed(content: NDArray[np.float32], grid: Grid) -> tuple[NDArray[np.float32], Grid]:
    """The bounding box in (y, x) of the content: rays through air cost as much as others."""
    seen = content.sum(axis=(0, 1)) > 0
    y, x = (np.flatnonzero(seen.any(axis=axis)) for axis in (1, 0))
    start = (0, int(y[0]), int(x[0]))
    stop = (grid.shape[0], int(y[-1]) + 1, int(x[-1]) + 1)
    inside = content[:, :, start[1] : stop[1], start[2] : stop[2]]
    return np.ascontiguousarray(inside), grid.crop(start, stop)
