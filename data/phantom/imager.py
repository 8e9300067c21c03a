r"""What a cone-beam imager measures of path lengths in water and bone, and how it corrects them.

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

from synthct.data.tomography.cone_beam import ConeBeam

ENERGY_KEV = (40.0, 60.0, 80.0, 100.0)
WEIGHT = (0.22, 0.40, 0.26, 0.12)
"""Share of each bin in the detected signal of a 120 kVp beam (coarse)."""
WATER_PER_MM = (0.02683, 0.02059, 0.01837, 0.01707)
BONE_PER_MM = (0.12778, 0.06044, 0.04280, 0.03562)

MEAN_KEV = sum(w * e for w, e in zip(WEIGHT, ENERGY_KEV, strict=True))

BONE_START_HU, BONE_FULL_HU = 100.0, 1640.0
"""CT numbers [HU]: up to the first a voxel is water of variable density, at the second cortical
bone."""

CALIBRATION_MM = 200.0
"""Diameter of the water body on which an imager's calibration is made."""


@dataclass(frozen=True)
class Imager:
    """Degradations of the CBCT, and the scanner's corrections of them.

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
    beam_shift_kev
        How much higher the mean energy of the detected beam is than that of ``WEIGHT`` [keV].
    water_precorrection
        Share of the beam hardening of water that the scanner removes, in [0, 1].
    bone_precorrection
        Share of the difference between the measured line integrals and straight lines of slope
        ``bone_contrast`` that the scanner removes, in [0, 1]: Joseph & Spital, J Comput Assist
        Tomogr 2 (1978) 100-108, with known path lengths in place of the segmented ones.
    bone_contrast
        CT numbers of bone after that correction, relative to those of a CT at 120 kVp.
    bone_start_hu
        CT number from which on a voxel holds bone.
    bow_tie
        Attenuation of the bow-tie filter at the rim of the detector; 0: none.
    half_fan_mm
        Half-width of the strip about the axis that an offset detector sees from both sides [mm];
        0: a full fan (Wang, Med Phys 29 (2002) 1634-1636).
    gain, offset_hu
        Miscalibration: the numbers shown are ``gain`` times the right ones, plus ``offset_hu``.
    fill_hu
        Value outside the field of view.
    """

    scatter: float
    photons: float
    scatter_width_mm: float = 90.0
    window: float = 2.0
    beam_shift_kev: float = 0.0
    water_precorrection: float = 0.0
    bone_precorrection: float = 0.0
    bone_contrast: float = 1.0
    bone_start_hu: float = BONE_START_HU
    bow_tie: float = 0.0
    half_fan_mm: float = 0.0
    gain: float = 1.0
    offset_hu: float = 0.0
    fill_hu: float = -1024.0

    def weights(self) -> tuple[float, ...]:
        r"""Shares of the energy bins, :math:`w_e \propto` ``WEIGHT`` :math:`e^{t E}`.

        The tilt *t* gives the beam its mean energy.
        """
        if self.beam_shift_kev == 0:
            return WEIGHT
        wanted, energy = MEAN_KEV + self.beam_shift_kev, np.asarray(ENERGY_KEV)
        tilts = np.linspace(-0.2, 0.2, 2001)
        shares = np.asarray(WEIGHT) * np.exp(tilts[:, None] * (energy - MEAN_KEV))
        shares /= shares.sum(axis=1, keepdims=True)
        nearest = int(np.abs(shares @ energy - wanted).argmin())
        return tuple(float(share) for share in shares[nearest])


def materials(hu: NDArray[np.float32], start_hu: float = BONE_START_HU) -> NDArray[np.float32]:
    """Water and bone content (2, Z, Y, X) of CT numbers [HU], relative to the pure materials."""
    bone = np.maximum(hu - start_hu, 0) / (BONE_FULL_HU - start_hu)
    dense = 1 + start_hu / 1000
    water = np.where(bone > 0, dense * np.maximum(1 - bone, 0), 1 + hu / 1000)
    return np.stack([np.maximum(water, 0), bone]).astype(np.float32)


def primary_of(lengths_mm: torch.Tensor, imager: Imager) -> torch.Tensor:
    """Primary over the open beam for path lengths in water and bone (2, ...) [mm]."""
    primary = torch.zeros_like(lengths_mm[0])
    for weight, water, bone in zip(imager.weights(), WATER_PER_MM, BONE_PER_MM, strict=True):
        primary += weight * torch.exp(-water * lengths_mm[0] - bone * lengths_mm[1])
    return primary


def measured_intensity(
    lengths_mm: torch.Tensor, geometry: ConeBeam, imager: Imager, rng: np.random.Generator
) -> torch.Tensor:
    """Counts over the open beam (views, V, U) for path lengths in water and bone (2, ...) [mm]."""
    primary = primary_of(lengths_mm, imager)
    potential = (-primary * torch.log(primary.clamp(min=1e-12))).numpy()
    beam = _bow_tie(geometry, imager)
    sigma = [imager.scatter_width_mm / size for size in geometry.pixel_mm]
    scatter = imager.scatter * ndimage.gaussian_filter(
        potential * beam, (0, *sigma), mode="nearest"
    )
    expected = imager.photons * (primary.numpy() * beam + scatter)
    counts = rng.poisson(expected).astype(np.float32)
    return torch.from_numpy(np.maximum(counts, 1.0) / (np.float32(imager.photons) * beam))


def line_integrals(
    lengths_mm: torch.Tensor, geometry: ConeBeam, imager: Imager, rng: np.random.Generator
) -> torch.Tensor:
    """Corrected line integrals (views, V, U), weighted for FDK where the detector is offset."""
    lines = corrected_lines(lengths_mm, geometry, imager, rng)
    return lines * offset_weights(geometry, imager)


def corrected_lines(
    lengths_mm: torch.Tensor, geometry: ConeBeam, imager: Imager, rng: np.random.Generator
) -> torch.Tensor:
    """Line integrals (views, V, U) after the scanner's own corrections of water and bone."""
    measured = -torch.log(measured_intensity(lengths_mm, geometry, imager, rng))
    corrected = _water_corrected(measured, imager)
    if imager.bone_precorrection:
        scale = effective_water_per_mm(imager)
        ideal = scale * (
            lengths_mm[0] + (1 + imager.bone_contrast * BONE_FULL_HU / 1000) * lengths_mm[1]
        )
        without_noise = -torch.log(primary_of(lengths_mm, imager).clamp(min=1e-12))
        hardened = _water_corrected(without_noise, imager)
        corrected = corrected + imager.bone_precorrection * (ideal - hardened)
    return corrected


def shown_hu(attenuation: torch.Tensor, imager: Imager) -> torch.Tensor:
    """The numbers that the scanner shows for reconstructed attenuation [1/mm]."""
    hu = 1000 * (attenuation / effective_water_per_mm(imager) - 1)
    if imager.gain != 1 or imager.offset_hu:
        hu = imager.gain * hu + imager.offset_hu
    return hu


def effective_water_per_mm(imager: Imager | None = None) -> float:
    """Attenuation of water that the imager's calibration on a 200 mm water body yields."""
    weights = WEIGHT if imager is None else imager.weights()
    primary = sum(
        w * np.exp(-mu * CALIBRATION_MM) for w, mu in zip(weights, WATER_PER_MM, strict=True)
    )
    return float(-np.log(primary) / CALIBRATION_MM)


def _water_corrected(integrals: torch.Tensor, imager: Imager) -> torch.Tensor:
    """Line integrals on the way from the polychromatic curve of water to the straight line."""
    if not imager.water_precorrection:
        return integrals
    lengths_mm = np.linspace(-20.0, 800.0, 821)
    primary = sum(
        w * np.exp(-mu * lengths_mm) for w, mu in zip(imager.weights(), WATER_PER_MM, strict=True)
    )
    straight = effective_water_per_mm(imager) * lengths_mm
    there = np.interp(integrals.numpy(), -np.log(primary), straight)
    share = imager.water_precorrection
    return (1 - share) * integrals + share * torch.from_numpy(there.astype(np.float32))


def _bow_tie(geometry: ConeBeam, imager: Imager) -> NDArray[np.float32]:
    """Transmission of the bow-tie filter by detector column, (U,)."""
    u = geometry.offsets_mm(1).numpy()
    reach = (u / max(float(np.abs(u).max()), 1e-9)) ** 2
    return np.exp(-imager.bow_tie * reach).astype(np.float32)


def offset_weights(geometry: ConeBeam, imager: Imager) -> torch.Tensor:
    """Weights (U,) of an offset detector: a ray and its opposite together count twice.

    0 on the side that the detector does not reach, 2 on the other, a sine in between; 1 for a full
    fan.
    """
    if not imager.half_fan_mm:
        return torch.ones(1)
    zoom = geometry.source_axis_mm / geometry.source_detector_mm
    place = (geometry.offsets_mm(1) * zoom / imager.half_fan_mm).clamp(-1, 1)
    return 1 + torch.sin(0.5 * torch.pi * place)
