"""Signal equations, beam physics and deformation by hand values."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from synthct.data.phantom.deformation import (
    Bump,
    Deformation,
    draw_deformation,
    grid_axes,
    jacobian_determinant,
    without_rigid,
)  # fmt: skip
from synthct.data.phantom.imager import (
    BONE_PER_MM,
    WATER_PER_MM,
    WEIGHT,
    Imager,
    effective_water_per_mm,
    materials,
    measured_intensity,
)  # fmt: skip
from synthct.data.phantom.mr import Sequence
from synthct.data.phantom.patient import centred_grid
from synthct.data.phantom.sampling import sample
from synthct.data.phantom.shapes import turned
from synthct.data.tomography.cone_beam import ConeBeam

GRID = centred_grid((160, 160, 160), (8.0, 8.0, 8.0))
ORBIT = ConeBeam((0.0,), (3, 3), (10.0, 10.0))


def test_spoiled_echo_at_the_ernst_angle_is_at_its_maximum():
    one = [np.float32(value) for value in (1.0, 800.0, 50.0, 30.0)]
    ernst = math.degrees(math.acos(math.exp(-20 / 800)))
    best = Sequence("gre", 20.0, 0.0, ernst).signal(*one)
    e1 = math.exp(-20 / 800)
    assert best == pytest.approx(math.sqrt((1 - e1) / (1 + e1)), rel=1e-5)
    for flip in (ernst - 3, ernst + 3):
        assert Sequence("gre", 20.0, 0.0, flip).signal(*one) < best


def test_spin_echo_by_hand():
    got = Sequence("se", 800.0, 50.0, 90.0).signal(
        *(np.float32(value) for value in (0.5, 800.0, 50.0, 1.0))
    )
    assert got == pytest.approx(0.5 * (1 - math.exp(-1)) * math.exp(-1), rel=1e-5)


def test_materials_add_up_to_the_ct_number():
    """At 70 keV water 1 and bone 2.64 times water: the two contents give the HU back."""
    hu = np.array([-1000.0, -500.0, 0.0, 100.0, 870.0, 1640.0], np.float32)
    water, bone = materials(hu)
    assert water + 2.64 * bone == pytest.approx(1 + hu / 1000, abs=1e-6)
    assert bone[:4] == pytest.approx(0)


def test_bone_hardens_the_beam():
    """Twice the bone attenuates less than twice as much."""
    imager = Imager(scatter=0.0, photons=1e12)
    lengths = torch.zeros(2, 1, 3, 3)
    lengths[1, :, :, 1], lengths[1, :, :, 2] = 20.0, 40.0
    lines = -torch.log(measured_intensity(lengths, ORBIT, imager, np.random.default_rng(0)))
    expected = -math.log(
        sum(w * math.exp(-mu * 20) for w, mu in zip(WEIGHT, BONE_PER_MM, strict=True))
    )
    assert lines[0, 1, 1].item() == pytest.approx(expected, rel=1e-4)
    assert lines[0, 1, 2] < 1.9 * lines[0, 1, 1]


def test_scatter_makes_thick_bodies_look_thin_and_counts_are_poisson():
    thick = torch.zeros(2, 400, 3, 3)
    thick[0] = 250.0
    clean, foggy = (
        measured_intensity(thick, ORBIT, Imager(s, 1e5), np.random.default_rng(1)) for s in (0, 0.1)
    )
    assert foggy.mean() > 1.2 * clean.mean()
    counts = clean.numpy() * 1e5
    assert counts.var() == pytest.approx(counts.mean(), rel=0.1)
    low, high = min(WATER_PER_MM), max(WATER_PER_MM)
    assert low < effective_water_per_mm() < high


def test_displacement_is_exact_at_a_bumps_centre():
    bump = Bump(np.array([6.0, -2.0, 1.0]), np.array([4.0, 4.0, 4.0]), np.full(3, 30.0))
    rotation, shift = turned(z_deg=3.0), np.array([1.0, 2.0, 3.0])
    field = Deformation([bump], rotation, shift).displacement(GRID)
    index = tuple(np.rint(GRID.index(np.array([4.0, 4.0, 4.0]))).astype(int))
    moved = np.array([10.0, 2.0, 5.0])
    expected = rotation @ moved + shift - 4.0
    assert field.vectors[(slice(None), *index)] == pytest.approx(expected, abs=1e-5)


def test_rigid_set_up_error_leaves_nothing_after_the_rigid_fit():
    move = Deformation((), turned(z_deg=2, y_deg=-3, x_deg=1), np.array([5.0, -4.0, 3.0]))
    field = move.displacement(GRID)
    assert np.abs(without_rigid(field, np.ones(GRID.shape, bool))).max() < 1e-3
    assert jacobian_determinant(field) == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize("region", ["head-neck", "thorax", "abdomen"])
def test_drawn_motion_has_the_length_asked_for(region):
    body = np.hypot(*np.ogrid[-9.5:10, -9.5:10]) < 9
    body = np.broadcast_to(body, GRID.shape)
    move = draw_deformation(
        region, np.random.default_rng(3), grid=GRID, body=body, mean_mm=4.0, shift_mm=3.0,
        turn_deg=1.0,
    )  # fmt: skip
    field = move.displacement(GRID)
    left = np.linalg.norm(without_rigid(field, body), axis=1)
    assert left.mean() == pytest.approx(4.0, rel=0.1)
    assert jacobian_determinant(field).min() > 0.3


def test_sampling_moves_a_ramp_by_the_displacement_and_averages_partial_volumes():
    fine = centred_grid((80, 80, 80), (2.0, 2.0, 2.0))
    coarse = centred_grid((32, 32, 32), (4.0, 4.0, 4.0))
    ramp = np.broadcast_to(grid_axes(fine)[0][:, None, None], fine.shape).astype(np.float32)
    move = Deformation((), np.eye(3), np.array([5.0, 0.0, 0.0]))
    (got,) = sample(ramp[None], fine, coarse, move)
    assert got[:, 3, 3] == pytest.approx(grid_axes(coarse)[0] + 5.0, abs=1e-3)
