from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from synthct.data.errors import UsageError
from synthct.tasks.fields.derivatives import determinant
from synthct.tasks.registration.contracts import Level
from synthct.tasks.registration.deformations import DEFORMATIONS
from synthct.tasks.registration.sampler import Sampler

LEVEL = Level((6, 9, 11), (3.0, 2.0, 1.0), (1.5, 0.0, 0.5), 2.0)


def positions(level=LEVEL):
    axes = [
        offset + step * torch.arange(n, dtype=torch.float64)
        for n, step, offset in zip(level.shape, level.spacing_mm, level.offset_mm, strict=True)
    ]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"))


@pytest.fixture
def affine():
    matrix = torch.tensor([[0.1, 0.2, -0.3], [0.05, -0.2, 0.1], [0.2, 0.0, 0.3]]).double()
    shift = torch.tensor([1.0, -2.0, 3.0]).double().view(3, 1, 1, 1)
    return (torch.einsum("ij,jzyx->izyx", matrix, positions()) + shift)[None]


LOCAL = ("bspline", "dense")
"""Families whose displacement is a weighted sum of parameters, one a place."""


@pytest.mark.parametrize("name", [name for name in DEFORMATIONS.names() if name != "rigid"])
def test_an_affine_start_is_within_reach(name, affine):
    start, displacement = DEFORMATIONS.build(name, {}).around(affine, LEVEL)
    torch.testing.assert_close(displacement(start), affine, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", DEFORMATIONS.names())
def test_the_displacement_follows_its_parameters(name, affine):
    start, displacement = DEFORMATIONS.build(name, {}).around(affine, LEVEL)
    start = (start + 0.03).requires_grad_()  # off the voxels, where a sampled slope jumps
    assert torch.autograd.gradcheck(displacement, [start], fast_mode=True)


@pytest.mark.parametrize("name", LOCAL)
def test_no_parameter_is_out_of_play(name, affine):
    start, displacement = DEFORMATIONS.build(name, {}).around(affine, LEVEL)
    start = start.requires_grad_()
    (slope,) = torch.autograd.grad(displacement(start).sum(), [start])
    assert (slope > 0).all()


def test_equal_parameters_move_every_voxel_equally(affine):
    for name in LOCAL:
        start, displacement = DEFORMATIONS.build(name, {}).around(affine, LEVEL)
        torch.testing.assert_close(displacement(start + 0.7), affine + 0.7, rtol=0, atol=1e-6)


def test_the_spline_agrees_with_itk():
    model = DEFORMATIONS.build("bspline", {"grid_mm": 3.0})
    start, displacement = model.around(torch.zeros((1, 3, *LEVEL.shape)).double(), LEVEL)
    rng = torch.Generator().manual_seed(0)
    points = torch.randn(start.shape, generator=rng, dtype=torch.float64)
    spline = sitk.BSplineTransform(3, 3)
    mesh = [n - 3 for n in points.shape[:1:-1]]
    spline.SetTransformDomainOrigin((0.0, 0.0, 0.0))
    spline.SetTransformDomainPhysicalDimensions([6.0 * n for n in mesh])
    spline.SetTransformDomainMeshSize(mesh)
    spline.SetParameters(points[0].flip(0).flatten().tolist())  # ITK's components are x, y, z
    where = positions().flatten(1).T.flip(1).tolist()
    moved = np.array([spline.TransformPoint(p) for p in where]) - np.array(where)
    found = displacement(points)[0].flatten(1).T.flip(1)
    np.testing.assert_allclose(found, moved, atol=1e-12)


def test_a_halved_factor_halves_the_distance_of_control_points():
    model = DEFORMATIONS.build("bspline", {"grid_mm": 2.0})
    u = torch.zeros((1, 3, 6, 9, 11))
    count = lambda factor: model.around(u, replace(LEVEL, factor=factor))[0].shape[2]  # noqa: E731
    assert count(4.0) == 16.5 // 8 + 4
    assert count(2.0) == 16.5 // 4 + 4


def test_a_dense_correction_spreads_as_a_gaussian():
    model = DEFORMATIONS.build("dense", {"smoothing_mm": 1.5})
    u = torch.zeros((1, 3, *LEVEL.shape)).double()
    start, displacement = model.around(u, LEVEL)
    start[0, 1, 3, 4, 5] = 1.0
    found = displacement(start)[0, 1]
    # sigma = 1.5 mm x factor 2 = 3 mm: one voxel along z, one and a half along y, three along x.
    centre = found[3, 4, 5]
    assert found[4, 4, 5] / centre == pytest.approx(np.exp(-1 / 2), rel=0.2)
    assert found[3, 4, 8] / centre == pytest.approx(np.exp(-1 / 2), rel=0.2)
    assert displacement(torch.zeros_like(start)).abs().max() == 0


def test_without_smoothing_every_voxel_is_by_itself():
    model = DEFORMATIONS.build("dense", {"smoothing_mm": 0.0})
    u = torch.zeros((1, 3, *LEVEL.shape))
    start, displacement = model.around(u, LEVEL)
    start[0, 1, 3, 4, 5] = 1.0
    assert torch.equal(displacement(start), start)


def test_a_rigid_start_is_the_nearest_rotation_and_shift():
    angle = 0.3
    turn = torch.tensor(
        [[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]]
    )
    middle = positions().flatten(1).mean(dim=1).view(3, 1, 1, 1)
    x = positions() - middle
    u = torch.einsum("ij,jzyx->izyx", turn - torch.eye(3), x)[None] + 2.0
    start, displacement = DEFORMATIONS.build("rigid", {}).around(u, LEVEL)
    torch.testing.assert_close(displacement(start), u, rtol=0, atol=1e-9)
    squeezed = u + 0.1 * torch.einsum("ij,jzyx->izyx", turn, x)
    start, displacement = DEFORMATIONS.build("rigid", {}).around(squeezed, LEVEL)
    torch.testing.assert_close(displacement(start), u, rtol=0, atol=1e-9)


def test_any_rotation_vector_keeps_distances():
    start, displacement = DEFORMATIONS.build("rigid", {}).around(
        torch.zeros((1, 3, *LEVEL.shape)).double(), LEVEL
    )
    moved = positions() + displacement(start + torch.tensor([[9.0, -4.0, 6.0], [1, 2, 3]]))[0]
    before = (positions()[:, 0, 0, 0] - positions()[:, -1, -1, -1]).norm()
    after = (moved[:, 0, 0, 0] - moved[:, -1, -1, -1]).norm()
    assert after == pytest.approx(before.item(), abs=1e-9)


def test_a_velocity_runs_back_to_where_it_came_from_and_never_folds():
    level = Level((14, 16, 18), (2.0, 2.0, 2.0), (0.0, 0.0, 0.0), 1.0)
    model = DEFORMATIONS.build("velocity", {"smoothing_mm": 4.0})
    start, displacement = model.around(torch.zeros((1, 3, *level.shape)).double(), level)
    rng = torch.Generator().manual_seed(1)
    velocity = 30 * torch.randn(start.shape, generator=rng, dtype=torch.float64)
    there, back = displacement(velocity), displacement(-velocity)
    assert there.abs().max() > 2  # [mm]: a voxel
    assert determinant(there, level.spacing_mm).min() > 0
    inner = (..., slice(4, -4), slice(4, -4), slice(4, -4))
    home, naive = (
        (there + Sampler.of(level, there)(v, there))[inner].abs().mean() for v in (back, -there)
    )
    assert home < 0.1 * there[inner].abs().mean()
    assert home < 0.5 * naive


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("bspline", {"grid_mm": 0.0}),
        ("dense", {"smoothing_mm": -1.0}),
        ("velocity", {"smoothing_mm": 0.0}),
        ("velocity", {"squarings": 0}),
    ],
)
def test_impossible_options_are_refused(name, options):
    with pytest.raises(UsageError, match="must be"):
        DEFORMATIONS.build(name, options)
