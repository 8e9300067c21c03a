"""Joseph's projector: exact transpose, two equal backends, closed forms, any orbit."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from synthct.data.tomography.cone_beam import ConeBeam, forward_project, full_circle
from synthct.data.tomography.projector import Projector
from synthct.data.tomography.views import Views, views_of
from synthct.data.volume import Grid

GRID = Grid((12, 14, 16), (3.0, 4.0, 4.5), (-17.0, -25.0, -35.0))
BEAM = ConeBeam(
    full_circle(7), (9, 13), (8.0, 9.0), 500.0, 800.0, (1.0, -2.0, 3.0), (3.0, 10.0)
)  # fmt: skip


def tilted() -> Views:
    """The same orbit with panels that lean back and are turned in their plane."""
    views = views_of(BEAM)
    lean = views.along_v_mm + 0.2 * (views.source_mm / 500) * 8 + 0.05 * views.along_u_mm
    return Views(views.source_mm, views.corner_mm, views.along_u_mm, lean, views.detector_shape)


def rotated() -> Grid:
    """A volume whose axes are those of nobody else."""
    angle = 0.4
    turn = (
        (math.cos(angle), -math.sin(angle), 0.0),
        (math.sin(angle), math.cos(angle), 0.0),
        (0.0, 0.0, 1.0),
    )
    return Grid(GRID.shape, GRID.spacing_mm, GRID.origin_mm, turn)


CASES = {
    "shifted circle": (GRID, BEAM),
    "tilted panels": (GRID, tilted()),
    "oblique volume": (rotated(), BEAM),
    "one view from the side": (GRID, ConeBeam((math.pi / 2,), (5, 5), (9.0, 9.0), 500.0, 800.0)),
    "diagonal rays": (GRID, ConeBeam((math.pi / 4,), (5, 5), (9.0, 9.0), 500.0, 800.0)),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("backend", ["auto", "torch"])
def test_an_adjoint_that_is_not_the_transpose_would_make_solvers_diverge(name, backend):
    projector = Projector(*CASES[name], backend=backend)
    rng = torch.Generator().manual_seed(1)
    volume = torch.randn(projector.volume_shape, generator=rng)
    lines = torch.randn(projector.sinogram_shape, generator=rng)
    forward, back = projector.forward(volume), projector.transpose(lines)
    left = (forward.double() * lines).sum()
    right = (back.double() * volume).sum()
    scale = forward.double().norm() * lines.double().norm()
    assert abs(float(left - right)) < 1e-5 * float(scale)


@pytest.mark.parametrize("name", ["shifted circle", "one view from the side", "diagonal rays"])
def test_the_compiled_loops_and_torch_give_one_sinogram(name):
    compiled, plain = (
        Projector(*CASES[name], backend="compiled"),
        Projector(*CASES[name], backend="torch"),
    )
    rng = torch.Generator().manual_seed(2)
    volume = torch.rand(compiled.volume_shape, generator=rng)
    lines = torch.rand(compiled.sinogram_shape, generator=rng)
    for ours, theirs in (
        (compiled.forward(volume), plain.forward(volume)),
        (compiled.transpose(lines), plain.transpose(lines)),
    ):
        assert float((ours - theirs).norm()) < 1e-5 * float(theirs.norm())


def test_line_integrals_through_a_linear_field_are_exact():
    """Bilinear interpolation is exact for a field that is linear, away from the border."""
    grid = Grid((20, 20, 20), (2.0, 2.0, 2.0), (-19.0, -19.0, -19.0))
    beam = ConeBeam((0.3, 1.2), (3, 3), (3.0, 3.0), 500.0, 800.0)
    points = np.moveaxis(grid.points(np.moveaxis(np.indices(grid.shape), 0, -1)), -1, 0)
    field = 1 + 0.01 * points[0] - 0.02 * points[1] + 0.03 * points[2]
    ones, linear = (
        Projector(grid, beam).forward(torch.from_numpy(values).float())
        for values in (np.ones(grid.shape), field)
    )
    views = views_of(beam)
    for view in range(2):
        pixel = views.corner_mm[view] + views.along_u_mm[view] + views.along_v_mm[view]
        middle = _closest_to_origin(views.source_mm[view], pixel)
        at_middle = 1 + 0.01 * middle[0] - 0.02 * middle[1] + 0.03 * middle[2]
        length = float(ones[view, 1, 1])
        steepest = max(abs(math.cos((0.3, 1.2)[view])), abs(math.sin((0.3, 1.2)[view])))
        assert length == pytest.approx(40 / steepest, rel=0.01)
        assert float(linear[view, 1, 1]) == pytest.approx(at_middle * length, rel=0.01)


def _closest_to_origin(source, pixel):
    along = (pixel - source) / np.linalg.norm(pixel - source)
    return source - (source @ along) * along


def test_both_projectors_agree_on_a_smooth_body():
    grid = Grid((20, 30, 30), (2.0, 2.0, 2.0), (-19.0, -29.0, -29.0))
    points = np.moveaxis(grid.points(np.moveaxis(np.indices(grid.shape), 0, -1)), -1, 0)
    body = torch.from_numpy(np.exp(-(points**2).sum(axis=0) / 150)).float()
    beam = ConeBeam(full_circle(5), (10, 16), (4.0, 4.0), 500.0, 800.0)
    joseph = Projector(grid, beam).forward(body)
    sampled = forward_project(body[None], grid, beam, 0.5)[0]
    assert float((joseph - sampled).norm()) < 0.005 * float(sampled.norm())


def test_gradients_of_gradients_pass_finite_differences():
    grid = Grid((5, 6, 4), (2.0, 2.0, 2.0), (-4.0, -5.0, -3.0))
    beam = ConeBeam((0.3, 1.9), (2, 3), (4.0, 4.0), 100.0, 150.0)
    projector = Projector(grid, beam)
    volume = torch.rand(grid.shape, dtype=torch.float64, requires_grad=True)
    lines = torch.rand(beam.sinogram_shape, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(projector, volume)
    assert torch.autograd.gradcheck(projector.adjoint, lines)
    assert torch.autograd.gradgradcheck(lambda v: projector(v).square(), volume)


def test_threads_do_not_change_a_bit():
    projector = Projector(GRID, BEAM)
    volume = torch.rand(GRID.shape, generator=torch.Generator().manual_seed(3))
    before = torch.get_num_threads()
    found = []
    for threads in (1, 3):
        torch.set_num_threads(threads)
        lines = projector.forward(volume)
        found.append((lines, projector.transpose(lines)))
    torch.set_num_threads(before)
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


def test_compiled_loops_that_would_misread_a_tilted_panel_are_refused():
    with pytest.raises(ValueError, match="rows do not run along"):
        Projector(GRID, tilted(), backend="compiled")
    assert not Projector(GRID, tilted()).compiled
