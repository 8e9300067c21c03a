"""The box that is modelled: attenuation outside the wanted grid is not put into it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from synthct.data.tomography.cone_beam import ConeBeam, full_circle
from synthct.data.tomography.projector import Projector
from synthct.data.tomography.sinogram import Sinogram
from synthct.data.volume import Grid
from synthct.tasks.reconstruction import job
from synthct.tasks.reconstruction.extent import modelled

LONG = Grid((24, 20, 20), (6.0, 6.0, 6.0), (-69.0, -57.0, -57.0))
BEAM = ConeBeam(full_circle(16), (12, 30), (9.0, 9.0), 500.0, 750.0)


@pytest.fixture(scope="module")
def scan():
    """A long cylinder of water, seen by a detector of 72 mm at the axis."""
    z, y, x = np.meshgrid(*(np.arange(n) - (n - 1) / 2 for n in LONG.shape), indexing="ij")
    body = torch.from_numpy(((np.hypot(y, x) < 8) & (np.abs(z) < 11)).astype(np.float32))
    lines = Projector(LONG, BEAM).forward(body) * 0.02
    return Sinogram(lines.numpy(), BEAM), LONG.crop((8, 0, 0), (16, 20, 20)), body[8:16]


def _rim_hu(scan):
    """Root mean square error of water in the first and the last slice [HU]."""
    sinogram, grid, truth = scan
    settings = job.Settings(prior="", iterations=15, tolerance_hu=0.0)
    made = job.reconstruct_sinogram(sinogram, grid, settings).image
    assert made.grid.is_close(grid)
    inside = (truth > 0.5).numpy()
    inside[1:-1] = False
    return float(np.sqrt((made.array[inside] ** 2).mean()))


def test_the_body_above_and_below_the_box_becomes_bright_rims_in_it(scan, monkeypatch):
    found = _rim_hu(scan)
    same = lambda grid, beam, lines: (grid, ((0, 0, 0), grid.shape))  # noqa: E731
    monkeypatch.setattr(job, "modelled", same)
    assert found < 0.5 * _rim_hu(scan)


def test_the_wanted_grid_is_not_where_the_box_says(scan):
    sinogram, grid, _ = scan
    box, (start, stop) = modelled(grid, BEAM, sinogram.lines())
    assert box.crop(start, stop).is_close(grid)
    # half height 54 mm, over 750 mm, at the far corner of the box behind the axis
    reach = 54 / 750 * (500 + np.hypot(60, 60))
    assert start[0] == np.ceil((reach - 24) / 6)
    assert start[1:] == (0, 0)


def test_a_wide_patient_has_no_place_beside_the_detector(scan):
    sinogram, grid, _ = scan
    narrow = replace(BEAM, detector_shape=(12, 14))
    lines = sinogram.lines()[..., 8:22]
    tight = grid.crop((0, 5, 5), (8, 15, 15))
    box, _ = modelled(tight, narrow, lines)
    seen_mm = 500 * np.sin(np.arctan(63 / 750))
    assert box.extent_mm[1] >= 2.5 * seen_mm - 1
    without, _ = modelled(tight, narrow, torch.zeros_like(lines))
    assert without.shape[1:] == tight.shape[1:]
