"""FDK of half-fan and short scans, and the weights of rays that are measured twice."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from synthct.data.tomography.cone_beam import ConeBeam, full_circle
from synthct.data.tomography.fdk import reconstruct
from synthct.data.tomography.projector import Projector
from synthct.data.tomography.redundancy import view_weights
from synthct.data.volume import Grid

GRID = Grid((10, 64, 64), (6.0, 3.0, 3.0), (-27.0, -94.5, -94.5))
FULL = ConeBeam(full_circle(120), (16, 92), (9.0, 3.6))
ARC = tuple(np.linspace(0.3, 0.3 + math.pi + 0.45, 75).tolist())
ORBITS = {
    "full circle": FULL,
    "detector shifted to +u": replace(
        FULL, detector_shape=(16, 62), detector_shift_mm=(0.0, 50.0)
    ),
    "detector shifted to -u": replace(
        FULL, detector_shape=(16, 62), detector_shift_mm=(0.0, -50.0)
    ),
    "short scan": replace(FULL, angles_rad=ARC),
    "short scan, other way round": replace(FULL, angles_rad=tuple(-angle for angle in ARC)),
    "short scan across 0": replace(FULL, angles_rad=tuple(angle - 2.0 for angle in ARC)),
}  # fmt: skip
MU = 0.02


def _body():
    z, y, x = np.moveaxis(GRID.points(np.moveaxis(np.indices(GRID.shape), 0, -1)), -1, 0)
    radius = np.hypot(y, x - 20)
    body = MU * np.clip((60 - radius) / 3 + 0.5, 0, 1)
    middle = np.abs(z) < 10
    inside, outside = (radius < 50) & middle, (radius > 70) & (np.hypot(y, x) < 90) & middle
    return torch.from_numpy(body).float(), inside, outside


@pytest.mark.parametrize("backend", ["compiled", "torch"])
@pytest.mark.parametrize("name", ORBITS)
def test_rays_counted_twice_would_shade_a_homogeneous_body(name, backend):
    body, inside, outside = _body()
    lines = Projector(GRID, ORBITS[name]).forward(body)
    found = reconstruct(lines, GRID, ORBITS[name], backend=backend).numpy()
    assert found[inside].mean() == pytest.approx(MU, rel=0.003)
    assert found[inside].std() < 0.01 * MU
    assert np.abs(found[outside]).mean() < 0.01 * MU


@pytest.mark.parametrize("name", ORBITS)
def test_weights_of_opposite_rays_add_up_to_two(name):
    beam = ORBITS[name]
    weights = view_weights(beam)
    central = np.interp(0.0, beam.offsets_mm(1).numpy(), weights[:, 0].sum(dim=0).numpy())
    assert central == pytest.approx(len(beam.angles_rad), rel=0.01)


def test_a_full_circle_is_not_reweighted_at_all():
    assert (view_weights(FULL) == 1.0).all()


def test_an_arc_that_misses_rays_is_refused_and_not_shaded_in_silence():
    short = replace(FULL, angles_rad=tuple(np.linspace(0, math.pi, 60).tolist()))
    with pytest.raises(ValueError, match="FDK needs a half circle and the fan"):
        view_weights(short)
    shifted = replace(ORBITS["short scan"], detector_shift_mm=(0.0, 50.0))
    with pytest.raises(ValueError, match="a half-fan needs the full circle"):
        view_weights(shifted)
