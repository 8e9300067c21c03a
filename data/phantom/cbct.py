"""Cone-beam CT by projection: beam hardening, scatter, counting noise, truncation, FDK."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from synthct.data.phantom.anatomy import Anatomy
from synthct.data.phantom.ct import HIGH_HU, hu_raster
from synthct.data.phantom.deformation import Deformation
from synthct.data.phantom.imager import (
    Imager,
    corrected_lines,
    line_integrals,
    materials,
    offset_weights,
    shown_hu,
)
from synthct.data.phantom.sampling import sample
from synthct.data.tomography.cone_beam import ConeBeam, forward_project
from synthct.data.tomography.fdk import field_of_view, reconstruct
from synthct.data.tomography.sinogram import Sinogram
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
) -> tuple[Volume, Sinogram]:
    """The CBCT of the CBCT day on ``grid``, and the projections that it is made from.

    The volume has the imager's fill value outside its field of view. The projections are counts
    after the scanner's own corrections; an offset detector has only the columns it really has.

    The body is projected on voxels of ``projected_mm`` that reach as far as the anatomy, so that
    anatomy outside the reconstructed box still attenuates the rays.
    """
    room = anatomy.grid.with_spacing((projected_mm, projected_mm, projected_mm))
    raster = materials(hu_raster(anatomy, "cbct"), imager.bone_start_hu)
    content = sample(raster, anatomy.grid, room, deformation)
    lengths = path_lengths_mm(content, room, geometry)
    lines = corrected_lines(lengths, geometry, imager, rng)
    weights = offset_weights(geometry, imager)
    return _console(lines * weights, grid, geometry, imager), kept_projections(
        lines, geometry, imager
    )


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
    return _console(line_integrals(lengths_mm, geometry, imager, rng), grid, geometry, imager)


def _console(integrals: torch.Tensor, grid: Grid, geometry: ConeBeam, imager: Imager) -> Volume:
    """The volume that the scanner itself reconstructs and shows."""
    attenuation = reconstruct(integrals, grid, geometry, window=imager.window, backend="torch")
    hu = shown_hu(attenuation, imager)
    seen = field_of_view(grid, geometry)
    low = min(-1024.0, imager.fill_hu)
    stored = torch.where(seen, hu.clamp(-1024.0, float(HIGH_HU)), float(imager.fill_hu))
    return Volume(np.rint(stored.clamp(min=low).numpy()).astype(np.int16), grid, Modality.CBCT)


def kept_projections(lines: torch.Tensor, geometry: ConeBeam, imager: Imager) -> Sinogram:
    """The projections as counts, without the columns that an offset detector lacks."""
    there = offset_weights(geometry, imager).expand(geometry.detector_shape[1]) > 0
    offsets_mm = geometry.offsets_mm(1)[there]
    beam = replace(
        geometry,
        detector_shape=(geometry.detector_shape[0], len(offsets_mm)),
        detector_shift_mm=(
            geometry.detector_shift_mm[0], float((offsets_mm[0] + offsets_mm[-1]) / 2),
        ),
    )  # fmt: skip
    counts = imager.photons * torch.exp(-lines[..., there])
    return Sinogram(np.ascontiguousarray(counts.numpy(), np.float32), beam, imager.photons)


def _trimmed(content: NDArray[np.float32], grid: Grid) -> tuple[NDArray[np.float32], Grid]:
    """Crop to the bounding box in (y, x) of the content, because rays through air cost time too."""
    seen = content.sum(axis=(0, 1)) > 0
    y, x = (np.flatnonzero(seen.any(axis=axis)) for axis in (1, 0))
    start = (0, int(y[0]), int(x[0]))
    stop = (grid.shape[0], int(y[-1]) + 1, int(x[-1]) + 1)
    inside = content[:, :, start[1] : stop[1], start[2] : stop[2]]
    return np.ascontiguousarray(inside), grid.crop(start, stop)
