"""One digital patient: the scans of three days and the ground truth that relates them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from synthct.data.phantom.anatomy import Anatomy, build_anatomy
from synthct.data.phantom.cbct import cbct_scan
from synthct.data.phantom.ct import planning_ct, true_ct
from synthct.data.phantom.deformation import Deformation, draw_deformation
from synthct.data.phantom.imager import Imager, effective_water_per_mm
from synthct.data.phantom.mr import draw_sequence, mr_scan
from synthct.data.phantom.sampling import sample_labels
from synthct.data.phantom.scanners import draw_scanner
from synthct.data.tomography.cone_beam import covering
from synthct.data.tomography.sinogram import Sinogram
from synthct.data.volume import Displacement, Grid, Modality, Triple, Volume

Random = Callable[..., np.random.Generator]
"""``random(name, ...)`` gives the generator of a named stream."""

FIELD_MM: Mapping[str, Mapping[str, Triple]] = {
    "head-neck": {"ct": (224, 252, 216), "mr": (208, 252, 216), "cbct": (175, 252, 216)},
    "thorax": {"ct": (256, 288, 384), "mr": (240, 288, 384), "cbct": (176, 288, 384)},
    "abdomen": {"ct": (256, 256, 368), "mr": (240, 256, 368), "cbct": (176, 256, 368)},
}
"""Box (z, y, x) around the isocentre that each scan shows [mm]."""

VIEW_DIAMETER_MM: Mapping[str, float] = {"head-neck": 270.0, "thorax": 340.0, "abdomen": 340.0}
"""Cylinder that the CBCT detector sees: the trunk's flanks are cut off."""

MARGIN_MM = (60.0, 24.0, 24.0)
"""The anatomy goes on beyond the CT by half of this on each side."""

PROJECTED = 0.75
"""The CBCT projects a body of voxels this much smaller than the ones it reconstructs."""


@dataclass(frozen=True)
class Protocol:
    """Scan protocols, voxel sizes, and the amount of change between days."""

    voxels_mm: Mapping[str, Triple]
    """Voxel size (z, y, x) of ``ct``, ``mr`` and ``cbct`` [mm]."""
    anatomy_mm: float
    """Voxel side of the raster the anatomy is drawn on [mm]."""
    deformation_mm: tuple[float, float]
    """Range of the mean non-rigid displacement inside the body [mm]."""
    setup_shift_mm: float
    setup_turn_deg: float
    ct_noise_hu: float
    mr_noise: float
    mr_shading: float
    views: int
    scatter: float
    photons_per_mm2: float
    scanner: Mapping[str, tuple[float, float]] | None = None
    """Ranges from which each patient's cone-beam scanner is drawn
    (``synthct.data.phantom.scanners``); None: all have the one above."""


@dataclass(frozen=True, eq=False)
class Projections:
    """What a cone-beam CT was made from, and the attenuation that its scanner calls 0 HU [1/mm]."""

    sinogram: Sinogram
    water_per_mm: float


@dataclass(frozen=True, eq=False)
class SourceScan:
    """An MR or CBCT with the ground truth on its own grid."""

    scan: Volume
    ct: Volume
    labels: Volume
    displacement: Displacement
    attributes: Mapping[str, Any] = field(default_factory=dict)
    projections: Projections | None = None


@dataclass(frozen=True, eq=False)
class Patient:
    """Scans and ground truth of one digital patient."""

    ct: Volume
    sources: Mapping[str, SourceScan]


def centred_grid(field_mm: Triple, voxel_mm: Triple) -> Grid:
    """A grid whose middle is the isocentre."""
    z, y, x = (
        max(1, round(length / size)) for length, size in zip(field_mm, voxel_mm, strict=True)
    )
    dz, dy, dx = voxel_mm
    origin = (-(z - 1) * dz / 2, -(y - 1) * dy / 2, -(x - 1) * dx / 2)
    return Grid((z, y, x), (dz, dy, dx), origin)


def raster_grid(region: str, anatomy_mm: float) -> Grid:
    """The raster on which a region's anatomy is drawn."""
    z, y, x = (
        length + margin for length, margin in zip(FIELD_MM[region]["ct"], MARGIN_MM, strict=True)
    )
    return centred_grid((z, y, x), (anatomy_mm, anatomy_mm, anatomy_mm))


def make_patient(region: str, protocol: Protocol, random: Random) -> Patient:
    """Draw a patient, move it, and scan it on three days."""
    anatomy = build_anatomy(region, raster_grid(region, protocol.anatomy_mm), random("anatomy"))
    grids = {
        scan: centred_grid(FIELD_MM[region][scan], voxel)
        for scan, voxel in protocol.voxels_mm.items()
    }
    ct = planning_ct(anatomy, grids["ct"], random("ct"), noise_hu=protocol.ct_noise_hu)
    sources = {}
    for modality, take in (("mr", _take_mr), ("cbct", _take_cbct)):
        move = _draw_move(region, anatomy, protocol, random("deformation", modality))
        day = _Day(region, anatomy, grids[modality], move, protocol, random(modality))
        scan, attributes, projections = take(day)
        labels = sample_labels(anatomy.labels[modality], anatomy.grid, grids[modality], move)
        sources[modality] = SourceScan(
            scan=scan,
            ct=true_ct(anatomy, modality, grids[modality], move),
            labels=Volume(labels, grids[modality], Modality.LABELS),
            displacement=move.displacement(grids[modality]),
            attributes=attributes,
            projections=projections,
        )
    return Patient(ct, sources)


def _draw_move(
    region: str, anatomy: Anatomy, protocol: Protocol, rng: np.random.Generator
) -> Deformation:
    step = max(1, round(8.0 / protocol.anatomy_mm))
    coarse = Grid(
        tuple(len(range(0, n, step)) for n in anatomy.grid.shape),  # type: ignore[arg-type]
        (step * protocol.anatomy_mm,) * 3,
        anatomy.grid.origin_mm,
    )
    return draw_deformation(
        region,
        rng,
        grid=coarse,
        body=anatomy.labels["ct"][::step, ::step, ::step] > 0,
        mean_mm=float(rng.uniform(*protocol.deformation_mm)),
        shift_mm=protocol.setup_shift_mm,
        turn_deg=protocol.setup_turn_deg,
    )


@dataclass(frozen=True, eq=False)
class _Day:
    """What is scanned on one day, and how."""

    region: str
    anatomy: Anatomy
    grid: Grid
    move: Deformation
    protocol: Protocol
    rng: np.random.Generator


def _take_mr(day: _Day) -> tuple[Volume, dict[str, Any], None]:
    sequence = draw_sequence(day.region, day.rng)
    scan = mr_scan(
        day.anatomy, day.grid, day.move, sequence, day.rng,
        noise=day.protocol.mr_noise, shading=day.protocol.mr_shading,
    )  # fmt: skip
    return scan, sequence.attributes(), None


def _take_cbct(day: _Day) -> tuple[Volume, dict[str, Any], Projections]:
    pixel_mm, protocol, region = day.grid.spacing_mm[2], day.protocol, day.region
    diameter_mm, kind = VIEW_DIAMETER_MM[region], {"KVP": 120.0}
    if protocol.scanner is None:
        photons = protocol.photons_per_mm2 * pixel_mm * pixel_mm
        imager = Imager(scatter=protocol.scatter, photons=photons)
    else:
        scanner = draw_scanner(protocol.scanner, day.rng)
        imager = scanner.imager(pixel_mm)
        # The range is meant for heads; a trunk's cylinder is larger in proportion.
        wider = VIEW_DIAMETER_MM[region] / VIEW_DIAMETER_MM["head-neck"]
        diameter_mm = wider * scanner.parameters["diameter_mm"]
    geometry = covering(
        protocol.views, diameter_mm=diameter_mm, height_mm=day.grid.extent_mm[0], pixel_mm=pixel_mm
    )
    scan, sinogram = cbct_scan(
        day.anatomy, day.grid, day.move, geometry, imager, day.rng,
        projected_mm=PROJECTED * pixel_mm,
    )  # fmt: skip
    return scan, kind, Projections(sinogram, effective_water_per_mm(imager))
