"""What each method promises, on a scan of few views and few photons."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from scipy.sparse.linalg import LinearOperator, lsqr

from synthct.data.errors import DataError, UsageError
from synthct.data.tomography.cone_beam import ConeBeam, full_circle
from synthct.data.tomography.fdk import reconstruct
from synthct.data.tomography.projector import Projector
from synthct.data.volume import Grid
from synthct.tasks.reconstruction.base import Method, Problem
from synthct.tasks.reconstruction.methods import RECONSTRUCTION_METHODS
from synthct.tasks.reconstruction.solve import CHECKPOINT, solve
from synthct.tasks.regularization.base import Regularizer
from synthct.tasks.regularization.image.total_variation import ImageTotalVariation

WATER = 0.02
CONVEX = {"fista": 60, "primal_dual": 200, "admm": 40}
"""Iterations in which each of them comes to the common minimum."""


@pytest.fixture(scope="module")
def first(scan):
    return reconstruct(scan.sinogram.lines(), scan.grid, scan.sinogram.geometry) / WATER


def problem_of(scan, prior=None, strength=0.0):
    data = scan.sinogram
    return Problem(
        Projector(scan.grid, data.geometry), data.lines(), WATER, data.weights(),
        prior or Regularizer(), strength, data.counts, data.open_beam,
    )  # fmt: skip


def solved(problem, name, first, iterations, **options):
    method = RECONSTRUCTION_METHODS.build(name, options)
    return solve(problem, method, first, iterations=iterations)


@pytest.mark.parametrize("name", RECONSTRUCTION_METHODS.names())
def test_every_method_fits_the_measurements_better_than_fdk(scan, first, name):
    problem = problem_of(scan)
    found = solved(problem, name, first, 5)
    assert found.history[-1].data_term < 0.5 * found.history[0].data_term
    assert torch.isfinite(found.image).all()


@pytest.mark.slow
@pytest.mark.parametrize("name", CONVEX)
def test_methods_for_one_objective_come_to_one_minimum(scan, first, name):
    problem = problem_of(scan, ImageTotalVariation(iterations=60), 0.05)
    reached = solved(problem, name, first, CONVEX[name]).history[-1].objective
    best = solved(problem, "fista", first, 120).history[-1].objective
    assert reached == pytest.approx(best, rel=0.005)


@pytest.fixture(scope="module")
def fitted_to_noise(scan, first):
    return scan.error_hu(solved(problem_of(scan), "fista", first, 60).image)


@pytest.mark.parametrize(
    ("name", "iterations"), [("fista", 20), ("primal_dual", 60), ("admm", 6), ("spiral", 20)]
)
def test_total_variation_removes_noise_that_is_fitted_without_a_prior(
    scan, first, fitted_to_noise, name, iterations
):
    found = solved(problem_of(scan, ImageTotalVariation(), 0.02), name, first, iterations)
    assert scan.error_hu(found.image) < 0.6 * scan.error_hu(first)
    assert scan.error_hu(found.image) < 0.85 * fitted_to_noise
    assert float(found.image.min()) >= 0


def test_spiral_never_climbs_and_keeps_the_image_nonnegative(scan, first):
    problem = problem_of(scan, ImageTotalVariation(), 0.05)
    method = RECONSTRUCTION_METHODS.build("spiral", {})
    memory = method.begin(problem, first)
    values = [float(memory["value"])]
    for _ in range(15):
        method.advance(problem, memory)
        values.append(float(memory["value"]))
        assert float(memory["image"].min()) >= 0
    assert all(later <= earlier for earlier, later in itertools.pairwise(values))
    assert values[-1] < values[0]


def test_spiral_without_counts_is_refused(scan, first):
    problem = replace_counts(problem_of(scan))
    with pytest.raises(UsageError, match="the projections are line integrals"):
        RECONSTRUCTION_METHODS.build("spiral", {}).begin(problem, first)


def replace_counts(problem):
    problem.counts = None
    return problem


def test_conjugate_gradients_agree_with_scipy_step_by_step():
    """CGLS and LSQR (Paige & Saunders) have the same iterates in exact arithmetic."""
    grid = Grid((3, 6, 6), (5.0, 5.0, 5.0), (-5.0, -12.5, -12.5))
    beam = ConeBeam(full_circle(5), (4, 8), (8.0, 8.0), 500.0, 800.0)
    projector = Projector(grid, beam)
    rng = np.random.default_rng(0)
    lines = rng.random(beam.sinogram_shape)
    problem = Problem(projector, torch.from_numpy(lines), 1.0)

    def forward(image):
        return projector.forward(torch.from_numpy(image).reshape(grid.shape)).numpy().ravel()

    def transpose(values):
        given = torch.from_numpy(values).reshape(beam.sinogram_shape)
        return projector.transpose(given).numpy().ravel()

    size = int(np.prod(grid.shape))
    operator = LinearOperator(
        (lines.size, size), matvec=forward, rmatvec=transpose, dtype=np.float64
    )
    start = torch.zeros(grid.shape, dtype=torch.float64)
    for iterations in (1, 4, 9):
        found = solved(problem, "cgls", start, iterations).image.numpy().ravel()
        expected = lsqr(operator, lines.ravel(), atol=0, btol=0, iter_lim=iterations)[0]
        assert np.allclose(found, expected, atol=1e-8 * np.abs(expected).max())


def test_the_largest_eigenvalue_bounds_every_image(scan):
    problem = problem_of(scan)
    rng = torch.Generator().manual_seed(1)
    for _ in range(3):
        image = torch.rand(scan.grid.shape, generator=rng)
        lines = problem.forward(image)
        curvature = float((problem.weighted(lines) * lines).sum() / image.square().sum())
        assert curvature <= problem.lipschitz


@pytest.mark.parametrize("name", RECONSTRUCTION_METHODS.names())
def test_a_killed_run_continues_with_the_same_result(scan, first, name, tmp_path, monkeypatch):
    monkeypatch.setattr("synthct.tasks.reconstruction.solve.CHECKPOINT_EVERY_S", -1.0)
    problem = problem_of(scan, ImageTotalVariation(), 0.05)
    method = RECONSTRUCTION_METHODS.build(name, {})
    whole = solve(problem, method, first, iterations=4)
    solve(problem, method, first, iterations=2, folder=tmp_path)
    assert (tmp_path / CHECKPOINT).exists()
    resumed = solve(problem, method, first, iterations=4, folder=tmp_path)
    assert torch.equal(resumed.image, whole.image)
    assert resumed.history == whole.history


def test_an_image_that_no_longer_changes_ends_the_run(scan, first):
    problem = problem_of(scan, ImageTotalVariation(), 0.05)
    method = RECONSTRUCTION_METHODS.build("fista", {})
    found = solve(problem, method, first, iterations=200, tolerance_hu=2.0)
    assert found.converged
    assert len(found.history) < 60
    assert found.history[-1].change_hu < 2.0


def test_an_image_that_is_not_finite_ends_in_an_error(scan, first):
    class Bad(Method):
        def advance(self, problem, memory):
            memory["image"] = memory["image"] * float("nan")

    with pytest.raises(DataError, match="not finite after iteration 1"):
        solve(problem_of(scan), Bad(), first, iterations=3)
