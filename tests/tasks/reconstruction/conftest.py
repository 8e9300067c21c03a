"""A few-view, few-photon scan of a disc with bone, air and a faint insert."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from synthct.data.tomography.cone_beam import ConeBeam, full_circle
from synthct.data.tomography.projector import Projector
from synthct.data.tomography.sinogram import Sinogram
from synthct.data.volume import Grid

WATER_PER_MM = 0.02
OPEN_BEAM = 5e3


@dataclass(frozen=True)
class Scan:
    """The truth (Z, Y, X) relative to water, its counts, and where errors are measured."""

    truth: torch.Tensor
    sinogram: Sinogram
    grid: Grid
    inside: torch.Tensor

    def error_hu(self, image: torch.Tensor) -> float:
        """Root mean square error in the disc and around it [HU]."""
        return 1000 * float((image - self.truth)[self.inside].square().mean().sqrt())


def _disc(points, radius_mm, y_mm, x_mm):
    _, y, x = points
    return np.clip((radius_mm - np.hypot(y - y_mm, x - x_mm)) / 5 + 0.5, 0, 1)


@pytest.fixture(scope="session")
def scan() -> Scan:
    grid = Grid((6, 32, 32), (5.0, 5.0, 5.0), (-12.5, -77.5, -77.5))
    points = np.moveaxis(grid.points(np.moveaxis(np.indices(grid.shape), 0, -1)), -1, 0)
    truth = (
        _disc(points, 60, 0, 0)
        + 0.8 * _disc(points, 11, 20, 20)
        - 0.9 * _disc(points, 13, -20, 22)
        + 0.05 * _disc(points, 13, -8, -28)
    )
    truth = torch.from_numpy(truth).float()
    beam = ConeBeam(full_circle(24), (10, 52), (7.5, 7.5))
    lines = Projector(grid, beam).forward(truth) * WATER_PER_MM
    rng = np.random.default_rng(0)
    counts = rng.poisson(OPEN_BEAM * np.exp(-lines.numpy())).astype(np.float32)
    inside = torch.from_numpy((np.hypot(points[1], points[2]) < 72) & (abs(points[0]) < 9))
    return Scan(truth, Sinogram(counts, beam, OPEN_BEAM), grid, inside)
