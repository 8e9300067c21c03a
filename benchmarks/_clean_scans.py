"""Digital patients of many sizes, noises and voxels: scans in which nothing is wrong.

Each also as coronal and as sagittal slices, with its voxels unchanged; those of the head and neck
hold the whole head.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import numpy as np

from synthct.data.phantom.patient import Patient, Protocol, make_patient
from synthct.data.volume import Grid, Volume
from synthct.tasks.pipeline.randomness import generator

REGIONS = ("head-neck", "thorax", "abdomen")


@lru_cache(maxsize=4)
def clean_patient(number: int) -> tuple[str, Patient]:
    """Region and scans of digital patient ``number``; drawn from the number alone."""
    region = REGIONS[number % 3]
    draw = generator(number, "clean", "protocol")
    step = float(draw.choice([3.5, 4.0, 5.0]))
    protocol = Protocol(
        voxels_mm={
            "ct": (float(draw.choice([3.0, 4.0, 5.0])), step, step),
            "mr": (float(draw.choice([4.0, 5.0, 6.0])), step, step),
            "cbct": (float(draw.choice([3.0, 4.0, 5.0])), step, step),
        },
        anatomy_mm=3.5,
        deformation_mm=(2.0, 6.0),
        setup_shift_mm=4.0,
        setup_turn_deg=1.5,
        ct_noise_hu=float(draw.uniform(4, 30)),
        mr_noise=float(draw.uniform(0.01, 0.04)),
        mr_shading=0.15,
        views=32,
        scatter=float(draw.uniform(0.04, 0.12)),
        photons_per_mm2=2e4,
    )
    return region, make_patient(region, protocol, lambda *n: generator(number, "clean", *n))


ORDERS = {"axial": (0, 1, 2), "coronal": (1, 0, 2), "sagittal": (2, 0, 1)}
"""Which axis of an axial scan becomes slice, row and column."""


def permuted(scan: Volume, order: str) -> Volume:
    """The same voxels at the same places, stored in another order of axes."""
    axes = ORDERS[order]
    grid = scan.grid
    z, y, x = (tuple(row[axis] for axis in axes) for row in grid.direction)
    turned = Grid(
        tuple(grid.shape[axis] for axis in axes),  # type: ignore[arg-type]
        tuple(grid.spacing_mm[axis] for axis in axes),  # type: ignore[arg-type]
        grid.origin_mm,
        (z, y, x),  # type: ignore[arg-type]
    )
    return Volume(np.ascontiguousarray(scan.array.transpose(axes)), turned, scan.modality)


def clean_scans(
    count: int, start: int = 0, order: str = "axial"
) -> Iterator[tuple[str, str, Volume]]:
    """(name, region, scan): CT, MR and CBCT of one patient after another."""
    for number in range(start, start + (count + 2) // 3):
        region, patient = clean_patient(number)
        scans = {"ct": patient.ct, **{source: one.scan for source, one in patient.sources.items()}}
        for scan, volume in list(scans.items())[: count - 3 * (number - start)]:
            yield f"{region}-{number}/{scan} {order}", region, permuted(volume, order)
