"""The projector and FDK against closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from synthct.data.phantom.patient import centred_grid
from synthct.data.tomography import cone_beam
from synthct.data.tomography.cone_beam import (
    ConeBeam,
    back_project,
    covering,
    forward_project,
    full_circle,
)  # fmt: skip
from synthct.data.tomography.fdk import field_of_view, reconstruct

GRID = centred_grid((60, 60, 60), (2.0, 2.0, 2.0))
SMALL = centred_grid((20, 24, 28), (4.0, 4.0, 4.0))
TINY = ConeBeam(full_circle(5), (4, 6), (8.0, 8.0), 500.0, 800.0, (1.0, -2.0, 3.0))


def _soft(depth_mm):
    """Partial volume of a surface: 1 inside, 0 outside, linear over one voxel of 2 mm."""
    return torch.from_numpy(np.clip(depth_mm / 2 + 0.5, 0, 1)).float()


def _points(grid):
    return np.moveaxis(grid.points(np.moveaxis(np.indices(grid.shape), 0, -1)), -1, 0)


def test_ray_through_a_ball_is_its_chord():
    z, y, x = _points(GRID)
    centre = (4.0, -6.0, 5.0)
    gap = np.sqrt((z - centre[0]) ** 2 + (y - centre[1]) ** 2 + (x - centre[2]) ** 2)
    ball = _soft(20 - gap)[None]
    geometry = ConeBeam((0.0, 0.7, 2.1), (11, 11), (6.0, 6.0))
    got = forward_project(ball, GRID, geometry, 0.5)[0].numpy()
    for view, angle in enumerate(geometry.angles_rad):
        source = np.array([0, -math.cos(angle), math.sin(angle)]) * 1000
        axis_u = np.array([0, math.sin(angle), math.cos(angle)])
        for row in range(11):
            for column in range(11):
                pixel = -source * 0.5 + axis_u * (column - 5) * 6 + np.array([(row - 5) * 6, 0, 0])
                along = (pixel - source) / np.linalg.norm(pixel - source)
                to_centre = np.array(centre) - source
                miss = np.linalg.norm(to_centre - (to_centre @ along) * along)
                chord = 2 * math.sqrt(max(20**2 - miss**2, 0))
                if abs(miss - 20) > 3:  # grazing rays see the staircase of the voxels
                    assert got[view, row, column] == pytest.approx(chord, abs=0.8)


def test_back_projection_is_the_transpose():
    rng = torch.Generator().manual_seed(1)
    volume = torch.randn(2, *SMALL.shape, generator=rng, dtype=torch.float64)
    shape = (2, *TINY.sinogram_shape)
    projections = torch.randn(shape, generator=rng, dtype=torch.float64)
    left = (forward_project(volume, SMALL, TINY) * projections).sum()
    right = (volume * back_project(projections, SMALL, TINY)).sum()
    assert left.item() == pytest.approx(right.item(), rel=1e-9)


def test_the_direct_backward_differs_from_the_gradient_of_the_reading_in_the_last_bit():
    rays = cone_beam._Rays(SMALL, TINY, None)
    shape = (2, *(n + 2 for n in SMALL.shape))
    values = torch.randn(2, *TINY.detector_shape, generator=torch.Generator().manual_seed(3))
    for view in range(len(TINY.angles_rad)):
        blank = torch.zeros(shape, requires_grad=True)
        wanted = torch.autograd.grad(rays.read(blank, view), blank, values)[0]
        assert torch.equal(rays.spread(values, view, shape), wanted)


def test_gradient_of_a_data_term_is_the_back_projected_residual():
    rng = torch.Generator().manual_seed(2)
    volume = torch.rand(1, *SMALL.shape, generator=rng, dtype=torch.float64, requires_grad=True)
    measured = torch.rand(1, *TINY.sinogram_shape, generator=rng, dtype=torch.float64)
    residual = forward_project(volume, SMALL, TINY) - measured
    (0.5 * residual.square().sum()).backward()
    expected = back_project(residual.detach(), SMALL, TINY)
    assert torch.allclose(volume.grad, expected, atol=1e-10)


def test_projector_passes_finite_differences_both_ways():
    grid = centred_grid((6, 6, 6), (2.0, 2.0, 2.0))
    orbit = ConeBeam((0.3, 1.9), (2, 3), (4.0, 4.0), 100.0, 150.0)
    volume = torch.rand(1, *grid.shape, dtype=torch.float64, requires_grad=True)
    rays = torch.rand(1, *orbit.sinogram_shape, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda v: forward_project(v, grid, orbit), volume)
    assert torch.autograd.gradcheck(lambda p: back_project(p, grid, orbit), rays)


@pytest.mark.parametrize("isocentre", [(0.0, 0.0, 0.0), (6.0, -9.0, 12.0)])
def test_fdk_recovers_the_attenuation_of_a_cylinder(isocentre):
    grid = centred_grid((48, 160, 160), (4.0, 4.0, 4.0))
    z, y, x = _points(centred_grid((80, 160, 160), (2.0, 2.0, 2.0)))
    mu = 0.02
    offset = 15.0
    body = mu * _soft(60 - np.hypot(y, x - offset))[None]
    orbit = covering(60, diameter_mm=170, height_mm=60, pixel_mm=3.0)
    orbit = ConeBeam(orbit.angles_rad, orbit.detector_shape, orbit.pixel_mm, isocentre_mm=isocentre)
    fine = centred_grid((80, 160, 160), (2.0, 2.0, 2.0))
    lines = forward_project(body, fine, orbit)[0]
    found = reconstruct(lines, grid, orbit).numpy()
    z, y, x = _points(grid)
    inside = (np.hypot(y, x - offset) < 45) & (np.abs(z) < 10)
    assert found[inside].mean() == pytest.approx(mu, rel=0.02)
    assert np.abs(found[inside] - mu).max() < 0.12 * mu
    outside = (np.hypot(y, x - offset) > 70) & (np.hypot(y, x) < 75) & (np.abs(z) < 10)
    assert np.abs(found[outside]).mean() < 0.03 * mu


def test_field_of_view_is_the_cylinder_that_was_asked_for():
    orbit = covering(8, diameter_mm=100, height_mm=40, pixel_mm=2.0)
    grid = centred_grid((80, 160, 160), (2.0, 2.0, 2.0))
    seen = field_of_view(grid, orbit).numpy()
    z, y, x = _points(grid)
    assert seen[(np.hypot(y, x) < 50) & (np.abs(z) < 20)].all()
    assert not seen[np.hypot(y, x) > 53].any()


def test_a_source_inside_the_detector_is_refused():
    with pytest.raises(ValueError, match="axis lies between source and detector"):
        ConeBeam((0.0,), (4, 4), (1.0, 1.0), 1000.0, 900.0)
