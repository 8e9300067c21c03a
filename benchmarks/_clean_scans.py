"""Digital patients of many sizes, noises and voxels: scans in which nothing is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from synthct.data.phantom.patient import Patient, Protocol, make_patient
from synthct.data.volume import Volume
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


def clean_scans(count: int, start: int = 0) -> Iterator[tuple[str, str, Volume]]:
    """(name, region, scan): CT, MR and CBCT of one patient after another."""
    for number in range(start, start + (count + 2) // 3):
        region, patient = clean_patient(number)
        scans = {"ct": patient.ct, **{source: one.scan for source, one in patient.sources.items()}}
        for scan, volume in list(scans.items())[: count - 3 * (number - start)]:
            yield f"{region}-{number}/{scan}", region, volume
