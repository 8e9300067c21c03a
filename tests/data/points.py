"""A scan that is a function of LPS points: whatever a file says, each voxel can be checked."""

from __future__ import annotations

import itertools

import numpy as np

from synthct.data.affine import grid_xyz

STEEPEST = 45.0
"""Most that the function changes [HU / mm]."""

FIELD_MM = 60.0
"""Half the side of the cube in which all voxels lie."""

TURNS = [
    np.eye(3)[:, list(order)] * np.array(signs)
    for order in itertools.permutations(range(3))
    for signs in itertools.product((1, -1), repeat=3)
]
"""The 48 ways to order and flip three axes (x, y, z)."""


def value(points_zyx):
    """HU of the points (..., 3) as (z, y, x) [mm]: no symmetry, every axis at its own rate."""
    z, y, x = np.moveaxis(np.asarray(points_zyx, float), -1, 0)
    waves = 350 * np.sin(x / 23) * np.cos(y / 19) + 250 * np.sin(z / 21 + x / 40)
    return waves + 1.1 * x - 1.7 * y + 2.3 * z


def rotation(axis, degrees):
    """About x, y or z (0, 1, 2), acting on (x, y, z)."""
    turn = np.eye(3)
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    i, j = [(1, 2), (0, 2), (0, 1)][axis]
    turn[i, i], turn[j, j], turn[i, j], turn[j, i] = c, c, -s, s
    return turn


def grid(shape, spacing, direction, centre):
    """Shape (Z, Y, X); spacing, direction and centre of the box in (x, y, z) [mm, LPS]."""
    half = np.asarray(direction) @ (np.asarray(spacing) * (np.asarray(shape[::-1]) - 1) / 2)
    return grid_xyz(shape, spacing, np.asarray(centre) - half, direction)


def image(where):
    """Whole HU (Z, Y, X) on a grid."""
    index = np.stack(np.meshgrid(*[np.arange(n) for n in where.shape], indexing="ij"), -1)
    return np.rint(value(where.points(index))).astype(np.int16)


def worst(volume, scale=1.0, offset=0.0, ignore=None):
    """Largest difference of a volume that was read from the function at the voxels' places."""
    where = volume.grid
    index = np.stack(np.meshgrid(*[np.arange(n) for n in where.shape], indexing="ij"), -1)
    apart = np.abs(volume.array - (value(where.points(index)) * scale + offset))
    return float((apart if ignore is None else apart[~ignore(where.points(index))]).max())
