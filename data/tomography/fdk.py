r"""FDK: cosine weights, ramp filter with a Hann window, distance-weighted back-projection.

.. math::
    f(x) = \frac{1}{2} \sum_\beta \Delta\beta \frac{R^2}{(R - s)^2}
    \left[\left(\frac{R}{\sqrt{R^2 + u^2 + v^2}}\, p\right) * h\right](u(x), v(x))

with R the source-axis distance, s the point's distance from the axis towards the source and
(u, v) on the virtual detector through the axis. Feldkamp, Davis & Kress, J Opt Soc Am A 1 (1984)
612-619; the discrete ramp h is Ramachandran and Lakshminarayanan's (Kak & Slaney 1988, eq. 3.61).
"""

from __future__ import annotations

import importlib.util
import math
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from synthct.data.tomography.cone_beam import ConeBeam
from synthct.data.tomography.projector import Backend, share_out
from synthct.data.tomography.redundancy import view_weights
from synthct.data.volume import Grid


def reconstruct(
    projections: Tensor,
    grid: Grid,
    geometry: ConeBeam,
    *,
    window: float = 1.0,
    backend: Backend = "auto",
) -> Tensor:
    """Attenuation (Z, Y, X) [1/mm] from line integrals (views, V, U).

    A full circle or an arc of at least a half circle and the fan angle; a detector shifted along u
    needs the full circle. Rays measured twice share their weight (see ``redundancy``).

    Parameters
    ----------
    grid
        Of the result, along the axes of the patient.
    window
        Cut-off of the Hann window as a fraction of the detector's Nyquist frequency. Lateral
        truncation is softened by continuing each row beyond its ends with a fading copy of its
        last value (Ohnesorge et al., Med Phys 27 (2000) 39-46).
    backend
        ``compiled``, ``torch``, or ``auto``: compiled where numba is installed. They agree within
        float32 rounding.
    """
    if not np.allclose(grid.direction, np.eye(3)):
        raise ValueError(
            f"the direction is {grid.direction}; FDK reconstructs on axes of the patient"
        )
    weighted, geometry = _widened(projections * view_weights(geometry), geometry)
    filtered = _filtered(weighted, geometry, window)
    z, y, x = _axes(grid, geometry)
    if backend == "torch" or importlib.util.find_spec("numba") is None:
        total = torch.zeros(len(z), len(y) * len(x))
        for view, angle in enumerate(geometry.angles_rad):
            total += _from_view(filtered[view], geometry, angle, z, y, x)
        total = total.reshape(len(z), len(y), len(x))
    else:
        total = _compiled(filtered, geometry, z, y, x)
    return total * (math.pi / len(geometry.angles_rad))


def _widened(projections: Tensor, geometry: ConeBeam) -> tuple[Tensor, ConeBeam]:
    """With zeros where a shifted detector ends early: the filter spreads rays beyond its end."""
    shift, size = geometry.detector_shift_mm[1], geometry.pixel_mm[1]
    missing = round(2 * abs(shift) / size)
    if missing == 0:
        return projections, geometry
    sides = (missing, 0) if shift > 0 else (0, missing)
    rest = shift - math.copysign(missing * size / 2, shift)
    return torch.nn.functional.pad(projections, sides), replace(
        geometry,
        detector_shape=(geometry.detector_shape[0], geometry.detector_shape[1] + missing),
        detector_shift_mm=(geometry.detector_shift_mm[0], rest),
    )


def _compiled(filtered: Tensor, geometry: ConeBeam, z: Tensor, y: Tensor, x: Tensor) -> Tensor:
    from synthct.data.tomography import kernels

    turned = filtered.permute(0, 2, 1).contiguous().numpy()
    out = np.zeros((len(y), len(x), len(z)), np.float32)
    first = [float(geometry.offsets_mm(axis)[0]) for axis in (0, 1)]
    given = (
        np.asarray(geometry.angles_rad), *(axis.double().numpy() for axis in (z, y, x)),
        np.array([geometry.source_axis_mm, geometry.source_detector_mm]),
        np.array([*first, *geometry.pixel_mm]),
    )  # fmt: skip
    share_out(len(y), lambda start, stop: kernels.smear(start, stop, out, turned, *given))
    return torch.from_numpy(out).permute(2, 0, 1).contiguous()


def field_of_view(grid: Grid, geometry: ConeBeam) -> Tensor:
    """Where every view sees the point, (Z, Y, X) bool: the cylinder with conical ends."""
    z, y, x = _axes(grid, geometry)
    radius = torch.hypot(y[:, None], x)
    half_v, half_u = (
        float(geometry.offsets_mm(i).abs().max()) + 0.5 * geometry.pixel_mm[i] for i in (0, 1)
    )  # over a full circle the longer side of a shifted detector sees both sides
    far = geometry.source_detector_mm
    widest = geometry.source_axis_mm * math.sin(math.atan(half_u / far))
    tallest = half_v / far * (geometry.source_axis_mm - radius)
    return (radius <= widest) & (z[:, None, None].abs() <= tallest)


def _axes(grid: Grid, geometry: ConeBeam) -> list[Tensor]:
    return [
        torch.from_numpy(
            grid.origin_mm[i] - geometry.isocentre_mm[i] + np.arange(n) * grid.spacing_mm[i]
        ).float()
        for i, n in enumerate(grid.shape)
    ]


def _filtered(projections: Tensor, geometry: ConeBeam, window: float) -> Tensor:
    zoom = geometry.source_axis_mm / geometry.source_detector_mm
    u, v = geometry.offsets_mm(1) * zoom, geometry.offsets_mm(0) * zoom
    radius = geometry.source_axis_mm
    weighted = projections * (radius / torch.sqrt(radius**2 + u**2 + v[:, None] ** 2))
    count, step = projections.shape[-1], float(geometry.pixel_mm[1] * zoom)
    margin = count // 3
    fade = torch.cos(torch.linspace(0, math.pi / 2, margin + 1)[1:]) ** 2
    padded = torch.cat(
        [weighted[..., :1] * fade.flip(0), weighted, weighted[..., -1:] * fade], dim=-1
    )
    length = 1 << (2 * padded.shape[-1] - 1).bit_length()
    response = _ramp(length, step, window)
    spectrum = torch.fft.rfft(padded, n=length) * response
    rows: Tensor = torch.fft.irfft(spectrum, n=length)[..., margin : margin + count]
    return rows


def _ramp(length: int, step_mm: float, window: float) -> Tensor:
    """Frequency response of the band-limited ramp times the sampling step, Hann-windowed."""
    n = torch.fft.fftfreq(length, 1 / length)
    kernel = torch.where(n.abs() % 2 == 1, -1 / (math.pi * n * step_mm + 1e-30) ** 2, 0.0)
    kernel[0] = 1 / (4 * step_mm**2)
    response: Tensor = torch.fft.rfft(kernel).real * step_mm
    frequency = torch.arange(len(response)) / (len(response) - 1)
    hann = 0.5 * (1 + torch.cos(math.pi * (frequency / window).clamp(max=1)))
    return response * hann


def _from_view(
    rows: Tensor, geometry: ConeBeam, angle: float, z: Tensor, y: Tensor, x: Tensor
) -> Tensor:
    """Weighted back-projection (Z, Y * X) of one filtered view."""
    radius, far = geometry.source_axis_mm, geometry.source_detector_mm
    towards = -math.cos(angle) * y[:, None] + math.sin(angle) * x
    aside = math.sin(angle) * y[:, None] + math.cos(angle) * x
    zoom = (far / (radius - towards)).reshape(-1)
    half_v, half_u = ((geometry.detector_shape[i] - 1) / 2 * geometry.pixel_mm[i] for i in (0, 1))
    shift_v, shift_u = geometry.detector_shift_mm
    columns = ((aside.reshape(-1) * zoom - shift_u) / half_u).expand(len(z), -1)
    lines = (z[:, None] * zoom - shift_v) / half_v
    places = torch.stack([columns, lines], dim=-1)
    values = torch.nn.functional.grid_sample(
        rows[None, None], places[None], mode="bilinear", padding_mode="border", align_corners=True
    )[0, 0]
    return values * (radius / (radius - towards)).reshape(-1) ** 2
