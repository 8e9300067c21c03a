"""Denoising by swapped conjugate rays, on a disc of few photons."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from synthct.data.errors import UsageError
from synthct.data.tomography.cone_beam import ConeBeam, full_circle
from synthct.data.tomography.fdk import reconstruct
from synthct.data.tomography.projector import Projector
from synthct.data.tomography.sinogram import Sinogram
from synthct.data.volume import Grid
from synthct.tasks.reconstruction import flicking
from synthct.tasks.reconstruction.job import Settings, reconstruct_sinogram

GRID = Grid((1, 32, 32), (5.0, 5.0, 5.0), (0.0, -77.5, -77.5))
BEAM = ConeBeam(full_circle(60), (1, 44), (7.5, 7.5))
OPEN_BEAM = 300.0


@pytest.fixture(scope="module")
def disc():
    """The truth, its line integrals and their noisy measurement."""
    y, x = np.meshgrid(*(np.arange(32) * 5 - 77.5,) * 2, indexing="ij")

    def part(radius_mm, y_mm, x_mm):
        return np.clip((radius_mm - np.hypot(y - y_mm, x - x_mm)) / 8 + 0.5, 0, 1)

    truth = part(62, 0, 0) + 0.5 * part(14, 20, 20) - 0.8 * part(15, -20, 25)
    truth = torch.from_numpy(truth.astype(np.float32))[None]
    clean = Projector(GRID, BEAM).forward(truth) * 0.02
    counts = np.random.default_rng(0).poisson(OPEN_BEAM * np.exp(-clean.numpy()))
    scan = Sinogram(counts.astype(np.float32), BEAM, OPEN_BEAM)
    return truth, clean, scan


def _rms(difference):
    return float(difference.square().mean().sqrt())


def test_rays_are_paired_with_others_than_their_conjugates(disc):
    _, clean, _ = disc
    apart = _rms(flicking.conjugate(clean, BEAM) - clean)
    assert apart < 0.03 * float(clean.std())
    assert _rms(clean.flip(2) - clean) > 5 * apart  # the same view, mirrored
    # the outermost ray, by hand: half a turn less twice the fan's angle, in steps of 6 degrees
    marked = torch.zeros_like(clean)
    fan = math.atan(21.5 * 7.5 / 1500)
    marked[round((math.pi + 2 * fan) / (2 * math.pi) * 60), 0, -1] = 1.0
    assert float(flicking.conjugate(marked, BEAM)[0, 0, 0]) == 1.0


@pytest.mark.parametrize("first", [0.0, math.pi])
def test_a_clockwise_orbit_is_refused_or_paired_as_if_it_were_the_other_way(disc, first):
    """The same views in reverse order, as many gantries turn; angles may pass from 360 to 0."""
    angles = tuple((first + angle) % (2 * math.pi) for angle in reversed(full_circle(60)))
    there = replace(BEAM, angles_rad=angles)
    lines = Projector(GRID, there).forward(disc[0]) * 0.02
    assert _rms(flicking.conjugate(lines, there) - lines) < 0.03 * float(lines.std())


def test_an_image_of_few_photons_is_no_better_than_fdk_and_wrong_pairs_are_as_good(
    disc, monkeypatch
):
    truth, clean, scan = disc
    noisy = scan.lines()

    def error(lines):
        return _rms(reconstruct(lines, GRID, BEAM, window=3.0, backend="torch") / 0.02 - truth)

    found = flicking.flicked(noisy, BEAM, seed=0)
    assert _rms(found - clean) < 0.6 * _rms(noisy - clean)
    assert error(found) < 0.8 * error(noisy)
    monkeypatch.setattr(flicking, "conjugate", lambda lines, beam: lines.flip(2))
    wrong = flicking.flicked(noisy, BEAM, seed=0, steps=20)
    assert _rms(wrong - clean) > 0.9 * _rms(noisy - clean)


def test_two_runs_differ(disc):
    lines = disc[2].lines()
    one, other = (flicking.flicked(lines, BEAM, seed=3, steps=3) for _ in range(2))
    assert torch.equal(one, other)


def test_the_switch_of_the_reconstruction_does_nothing(disc):
    scan = disc[2]
    plain = Settings(method="fdk", prior="", window=3.0)
    one, other = (
        reconstruct_sinogram(scan, GRID, replace(plain, flicking=on), backend="torch").image
        for on in (False, True)
    )
    assert other.array.std() < one.array.std()
    assert not np.array_equal(one.array, other.array)


@pytest.mark.parametrize(
    "beam",
    [
        replace(BEAM, detector_shift_mm=(0.0, 50.0)),
        replace(BEAM, angles_rad=full_circle(120)[:60]),
        replace(BEAM, angles_rad=(0.0,)),
    ],
)
def test_an_orbit_without_conjugates_is_denoised_all_the_same(beam):
    with pytest.raises(UsageError, match="have no conjugates"):
        flicking.flicked(torch.zeros(beam.sinogram_shape), beam, seed=0)
