"""The pictures of one scored case: source, CT, sCT and error, slice by slice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from synthct.data.store.volumes import read_volume
from synthct.data.volume import Volume
from synthct.tasks.figures.pictures import (
    Pixels,
    hu_codes,
    shrink,
    signed_codes,
    stretch_codes,
    uri,
)
from synthct.tasks.pipeline.artefacts import CT, MASK, SCT, SOURCE

MIN_AREA = 0.25
"""Smallest scored area of a slice that may be the worst one, as a share of the largest slice's: at
the end of the body a few voxels would always be the worst."""


@dataclass(frozen=True)
class StripTask:
    """Plain data that a worker needs to draw one case."""

    case: str
    registration: str
    evaluation: str
    slices: int
    pixels: int
    quality: int
    error_window_hu: float


@dataclass(frozen=True)
class Slice:
    """Four pictures (data URIs) of one axial slice and its own mean absolute error."""

    number: int
    z_mm: float
    source: str
    ct: str
    sct: str
    error: str
    mae_hu: float


@dataclass(frozen=True)
class Strip:
    """The slices of one case, feet to head; ``start`` is the index of the worst one."""

    case: str
    slices: tuple[Slice, ...]
    start: int
    of: int
    width_mm: float
    height_mm: float


@dataclass(frozen=True)
class Scene:
    """The volumes of a case on one grid; scores are computed inside ``mask``."""

    source: Volume
    ct: Volume
    sct: Volume
    mask: NDArray[np.bool_]

    def error(self, z: int) -> NDArray[np.float32]:
        """Error sCT - CT [HU] of one slice, zero outside the mask."""
        here = self.sct.array[z].astype(np.float32) - self.ct.array[z].astype(np.float32)
        return np.asarray(np.where(self.mask[z], here, 0), dtype=np.float32)


def read_scene(registration: Path, evaluation: Path) -> Scene:
    """Load the case's volumes."""
    return Scene(
        source=read_volume(registration / SOURCE),
        ct=read_volume(registration / CT),
        sct=read_volume(evaluation / SCT),
        mask=np.asarray(read_volume(registration / MASK).array > 0),
    )


def draw_strip(order: StripTask) -> Strip:
    """Draw one case; runs on a worker."""
    scene = read_scene(Path(order.registration), Path(order.evaluation))
    numbers, errors = choose_slices(scene, order.slices)
    limits = source_limits(scene.source, scene.mask)
    _, height_mm, width_mm = scene.ct.grid.extent_mm
    slices = tuple(_draw(scene, z, errors[z], limits, order) for z in numbers)
    return Strip(
        case=order.case,
        slices=slices,
        start=max(range(len(slices)), key=lambda i: slices[i].mae_hu),
        of=scene.ct.array.shape[0],
        width_mm=width_mm,
        height_mm=height_mm,
    )


def choose_slices(scene: Scene, count: int) -> tuple[list[int], NDArray[np.float64]]:
    """Evenly spaced slices of the mask including the worst one; MAE [HU] of every slice."""
    area = scene.mask.sum(axis=(1, 2))
    depth = range(len(area))
    sums = np.array([float(np.abs(scene.error(z)).sum()) for z in depth])
    mae = sums / np.maximum(area, 1)
    fit = np.flatnonzero(area >= MIN_AREA * max(1, area.max()))
    if not len(fit):
        return [len(area) // 2], mae
    even = np.unique(np.round(np.linspace(fit[0], fit[-1], count)).astype(int))
    worst = int(fit[np.argmax(mae[fit])])
    nearest = int(np.argmin(np.abs(even - worst)))
    even[nearest] = worst
    return [int(z) for z in np.unique(even)], mae


def source_limits(source: Volume, mask: NDArray[np.bool_]) -> tuple[float, float]:
    """Grey limits of an MR or CBCT: 1st and 99.5th centile inside the mask, for all slices.

    CBCT numbers are not calibrated: in a CT window the image could be all black.
    """
    inside = source.array[mask] if mask.any() else source.array.ravel()
    low, high = np.percentile(inside, (1, 99.5))
    return float(low), float(high)


def _draw(
    scene: Scene, z: int, mae_hu: float, limits: tuple[float, float], order: StripTask
) -> Slice:
    def small(values: NDArray[np.generic]) -> Pixels:
        return shrink(values, order.pixels)

    inside = small(scene.mask[z]) >= 0.5
    error = signed_codes(small(scene.error(z)), order.error_window_hu)
    source = stretch_codes(small(scene.source.array[z]), *limits)
    return Slice(
        number=z + 1,
        z_mm=float(scene.ct.grid.points(np.array([z, 0, 0]))[0]),
        source=uri(source, order.quality),
        ct=uri(hu_codes(small(scene.ct.array[z])), order.quality),
        sct=uri(hu_codes(small(scene.sct.array[z])), order.quality),
        error=uri(error, order.quality, inside),
        mae_hu=float(mae_hu),
    )


def worst_first(scores: Sequence[tuple[str, float]]) -> list[str]:
    """Cases by decreasing mean absolute error; ties by name."""
    return [case for case, _ in sorted(scores, key=lambda pair: (-pair[1], pair[0]))]
