r"""Cone-beam CT by projection: beam hardening, scatter, counting noise, truncation, FDK.

The attenuation is split into water and bone; for each energy bin of the beam the primary is
:math:`I_p = \sum_e w_e \exp(-\mu_w(e) L_w - \mu_b(e) L_b)`. Attenuation coefficients: NIST XCOM /
Hubbell & Seltzer, NISTIR 5632 (liquid water, ICRU-44 cortical bone at 1.92 g/cm^3). Scatter is a
broad convolution of the forward-scatter potential :math:`I_p\,(-\ln I_p)` (Ohnesorge, Flohr &
Klingenbeck-Regn, Eur Radiol 9 (1999) 563-569).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from synthct.data.phantom.anatomy import Anatomy
from synthct.data.phantom.ct import LOW_HU, hu_raster, stored_hu
from synthct.data.phantom.deformation import Deformation
from synthct.data.phantom.sampling import sample
from synthct.data.tomography.cone_beam import ConeBeam, forward_project
from synthct.data.tomography.fdk import field_of_view, reconstruct
from synthct.data.volume import Grid, Modality, Volume

ENERGY_KEV = (40.0, 60.0, 80.0, 100.0)
WEIGHT = (0.22, 0.40, 0.26, 0.12)
"""Share of each bin in the detected signal of a 120 kVp beam (coarse)."""
WATER_PER_MM = (0.02683, 0.02059, 0.01837, 0.01707)
BONE_PER_MM = (0.12778, 0.06044, 0.04280, 0.03562)

BONE_START_HU, BONE_FULL_HU = 100.0, 1640.0
"""Below the first a voxel is water of another density, at the second it is cortical bone."""


@dataclass(frozen=True)
class Imager:
    """Degradations of the CBCT.

    Parameters
    ----------
    scatter
        Scatter left after the imager's own correction, relative to the forward-scatter potential.
    photons
        Detected quanta per pixel in the open beam.
    scatter_width_mm
        Standard deviation of the scatter kernel on the detector.
    window
        Cut-off of the reconstruction filter, as a fraction of Nyquist.
    """

    scatter: float
    photons: float
    scatter_width_mm: float = 90.0
    window: float = 2.0


def materials(hu: NDArray[np.float32]) -> NDArray[np.float32]:
    """Water and bone content (2, Z, Y, X) of CT numbers [HU], relative to the pure materials."""
    bone = np.maximum(hu - BONE_START_HU, 0) / (BONE_FULL_HU - BONE_START_HU)
    dense = 1 + BONE_START_HU / 1000
    water = np.where(bone > 0, dense * np.maximum(1 - bone, 0), 1 + hu / 1000)
    return np.stack([np.maximum(water, 0), bone]).astype(np.float32)


def measured_intensity(
    lengths_mm: torch.Tensor, geometry: ConeBeam, imager: Imager, rng: np.random.Generator
) -> torch.Tensor:
    """Counts over the open beam (views, V, U) for path lengths in water and bone (2, ...) [mm]."""
    primary = torch.zeros_like(lengths_mm[0])
    for weight, water, bone in zip(WEIGHT, WATER_PER_MM, BONE_PER_MM, strict=True):
        primary += weight * torch.exp(-water * lengths_mm[0] - bone * lengths_mm[1])
    potential = (-primary * torch.log(primary.clamp(min=1e-12))).numpy()
    sigma = [imager.scatter_width_mm / size for size in geometry.pixel_mm]
    scatter = imager.scatter * ndimage.gaussian_filter(potential, (0, *sigma), mode="nearest")
    expected = imager.photons * (primary.numpy() + scatter)
    counts = rng.poisson(expected).astype(np.float32)
    return torch.from_numpy(np.maximum(counts, 1.0) / np.float32(imager.photons))


def effective_water_per_mm() -> float:
    """Attenuation of water that the imager's calibration on a 200 mm water body yields."""
    length = 200.0
    primary = sum(w * np.exp(-mu * length) for w, mu in zip(WEIGHT, WATER_PER_MM, strict=True))
    return float(-np.log(primary) / length)


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
    """The CBCT of the CBCT day on ``grid``, -1024 HU outside the imager's field of view.

    The body is projected on voxels of ``projected_mm`` that reach as far as the anatomy, so that
    anatomy outside the reconstructed box still attenuates the rays.
    """
    room = anatomy.grid.with_spacing((projected_mm, projected_mm, projected_mm))
    raster = materials(hu_raster(anatomy, "cbct"))
    content = sample(raster, anatomy.grid, room, deformation)
    content, room = _trimmed(content, room)
    lengths = forward_project(torch.from_numpy(content), room, geometry, 1.25 * projected_mm)
    intensity = measured_intensity(lengths, geometry, imager, rng)
    attenuation = reconstruct(-torch.log(intensity), grid, geometry, window=imager.window)
    hu = 1000 * (attenuation / effective_water_per_mm() - 1)
    hu = torch.where(field_of_view(grid, geometry), hu, float(LOW_HU))
    return Volume(stored_hu(hu.numpy()), grid, Modality.CBCT)


def _trimmed(content: NDArray[np.float32], grid: Grid) -> tuple[NDArray[np.float32], Grid]:
    """The bounding box in (y, x) of the content: rays through air cost as much as others."""
    seen = content.sum(axis=(0, 1)) > 0
    y, x = (np.flatnonzero(seen.any(axis=axis)) for axis in (1, 0))
    start = (0, int(y[0]), int(x[0]))
    stop = (grid.shape[0], int(y[-1]) + 1, int(x[-1]) + 1)
    inside = content[:, :, start[1] : stop[1], start[2] : stop[2]]
    return np.ascontiguousarray(inside), grid.crop(start, stop)
