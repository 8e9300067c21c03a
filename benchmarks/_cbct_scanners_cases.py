"""Slabs of heads, each scanned by several cone-beam scanners, with the exact CT beside them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from synthct.data.files import canonical_json, write_whole
from synthct.data.itk import resample
from synthct.data.phantom.anatomy import build_anatomy
from synthct.data.phantom.cbct import path_lengths_mm, scan_of_lengths
from synthct.data.phantom.ct import hu_raster, stored_hu
from synthct.data.phantom.imager import Imager, materials
from synthct.data.phantom.patient import centred_grid
from synthct.data.phantom.sampling import SAME_DAY, sample
from synthct.data.phantom.scanners import BONE_START_HU, RANGES, ConeBeamScanner, draw_scanner
from synthct.data.readers import read_scan
from synthct.data.store.volumes import read_volume, write_volume
from synthct.data.tomography.cone_beam import ConeBeam, covering
from synthct.data.tomography.fdk import field_of_view
from synthct.data.volume import Grid, Modality, Volume
from synthct.tasks.ingestion.body import body_mask
from synthct.tasks.ingestion.canonical import reoriented
from synthct.tasks.ingestion.params import BodyParams
from synthct.tasks.pipeline.randomness import generator

VOXEL_MM, ANATOMY_MM = (2.0, 1.5, 1.5), 1.5
SLAB_MM, AROUND_MM = 40.0, 12.0
"""Height of a slab, and of the anatomy above and below it that the oblique rays pass."""
SECTION_MM = (252.0, 216.0)
VIEWS, PIXEL_MM, WIDEST_MM = 72, 1.5, 300.0
HEIGHTS_MM = (-60.0, 75.0)
"""Range of the middle of a slab in the head: neck to vault."""
SEED = 18

FOLDER = Path("build/benchmarks/cbct")
"""Folder of the scans, which are made once."""
KINDS = ("source", "ct", "mask")


@dataclass(frozen=True)
class Slab:
    """One piece of anatomy, and the scanners that see it.

    ``outside`` counts, for each scan, the parameters drawn beyond their ranges; 0: within, None:
    the one scanner that all digital patients have without ``cohort.cbct_scanner``.
    """

    name: str
    outside: tuple[int | None, ...]


MOST = len(RANGES)
TRAIN = tuple(Slab(f"train{n:02d}", (0, 0)) for n in range(8))
HELD = tuple(Slab(f"held{n:02d}", (MOST, MOST)) for n in range(3))
BEFORE = (Slab("before00", (None,)),)
TEST = tuple(Slab(f"test{n:02d}", (0, MOST)) for n in range(6))


def case_names(slabs: tuple[Slab, ...]) -> list[str]:
    """Names of all scans of the slabs."""
    return [f"{slab.name}_{k}" for slab in slabs for k in range(len(slab.outside))]


def mask_of(mask: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Voxels of the body in the field of view."""
    return mask > 0


def pair_of(case: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """CBCT and CT [HU] inside the mask, the CBCT clipped as the baseline ``linear`` does."""
    source, ct, mask = (read_volume(FOLDER / case / f"{kind}.zarr").array for kind in KINDS)
    inside = mask_of(mask)
    return np.clip(source[inside].astype(float), -1024, 3071), ct[inside].astype(float)


def make_digital(folder: Path) -> Iterator[str]:
    """Write the missing scans of all digital slabs; yield each name when it is done."""
    for slab in (*TRAIN, *HELD, *TEST, *BEFORE):
        if not (folder / slab.name).is_file():
            _digital(folder, slab)
            write_whole(folder / slab.name, "")
        yield slab.name


def _digital(folder: Path, slab: Slab) -> None:
    rng = generator(SEED, "slab", slab.name)
    middle_mm = float(rng.uniform(*HEIGHTS_MM))
    box_mm = (SLAB_MM + 2 * AROUND_MM, 276.0, 240.0)
    raster = _at(centred_grid(box_mm, (ANATOMY_MM,) * 3), middle_mm)
    anatomy = build_anatomy("head-neck", raster, rng)
    hu = hu_raster(anatomy, "cbct")
    grid = _at(centred_grid((SLAB_MM, *SECTION_MM), VOXEL_MM), middle_mm)
    (ct,) = sample(hu[None], anatomy.grid, grid, SAME_DAY)
    (body,) = sample((anatomy.labels["cbct"] > 0)[None].astype(np.float32), raster, grid, SAME_DAY)
    start_hu = BONE_START_HU if None not in slab.outside else Imager(0, 1).bone_start_hu
    lengths, geometry = project(hu, raster, grid, start_hu)
    for number, outside in enumerate(slab.outside):
        own = generator(SEED, "scanner", slab.name, str(number))
        scanner = None if outside is None else draw_scanner({}, own, outside=outside)
        case = folder / f"{slab.name}_{number}"
        _write(case, lengths, geometry, grid, scanner, own, ct, body > 0.5)


def make_real(folder: Path, scans: list[Path]) -> Iterator[str]:
    """The same for the middle slab of real CTs, through scanners outside the ranges."""
    for number, path in enumerate(scans):
        name = f"real{number:02d}"
        if not (folder / name).is_file():
            _real(folder, name, path)
            write_whole(folder / name, "")
        yield name


def _real(folder: Path, name: str, path: Path) -> None:
    volume = reoriented(read_scan(path, Modality.CT))
    outline = body_mask(volume, BodyParams(), "other")
    place = np.argwhere(outline.array > 0).mean(axis=0)
    middle = np.asarray(volume.grid.origin_mm) + place * np.asarray(volume.grid.spacing_mm)
    middle[0] = volume.grid.centre_mm[0]
    moved = Grid(
        volume.grid.shape,
        volume.grid.spacing_mm,
        tuple(float(v) for v in np.asarray(volume.grid.origin_mm) - middle),  # type: ignore[arg-type]
    )
    volume, outline = (
        Volume(volume.array, moved, Modality.CT),
        Volume(outline.array, moved, Modality.MASK),
    )
    raster = centred_grid((SLAB_MM + 2 * AROUND_MM, 276.0, 276.0), (1.5,) * 3)
    grid = centred_grid((SLAB_MM, 252.0, 252.0), VOXEL_MM)
    body = resample(outline, grid, outside=0, nearest=True).array > 0
    # The couch is not part of the anatomy: air wherever the outline is not.
    fine = resample(volume, raster, outside=-1000, nearest=False).array.astype(np.float32)
    near = resample(outline, raster, outside=0, nearest=True).array > 0
    hu = np.where(near, np.clip(fine, -1000, 3000), -1000).astype(np.float32)
    (ct,) = sample(hu[None], raster, grid, SAME_DAY)
    lengths, geometry = project(hu, raster, grid)
    own = generator(SEED, "scanner", name)
    scanner = draw_scanner({}, own, outside=MOST)
    _write(folder / f"{name}_0", lengths, geometry, grid, scanner, own, ct, body)


def project(
    hu: NDArray[np.float32], raster: Grid, grid: Grid, start_hu: float = BONE_START_HU
) -> tuple[torch.Tensor, ConeBeam]:
    """Path lengths through CT numbers for the widest detector."""
    flat = covering(VIEWS, diameter_mm=WIDEST_MM, height_mm=grid.extent_mm[0], pixel_mm=PIXEL_MM)
    z = grid.centre_mm[0]
    geometry = ConeBeam(
        flat.angles_rad, flat.detector_shape, flat.pixel_mm, isocentre_mm=(z, 0.0, 0.0)
    )
    return path_lengths_mm(materials(hu, start_hu), raster, geometry), geometry


def narrowed(
    lengths: torch.Tensor, geometry: ConeBeam, diameter_mm: float
) -> tuple[torch.Tensor, ConeBeam]:
    """The same projections on a detector that sees a narrower cylinder."""
    rows, columns = geometry.detector_shape
    want = covering(1, diameter_mm=diameter_mm, height_mm=10.0, pixel_mm=PIXEL_MM).detector_shape[1]
    cut = max(0, (columns - want) // 2)
    smaller = ConeBeam(
        geometry.angles_rad, (rows, columns - 2 * cut), geometry.pixel_mm,
        isocentre_mm=geometry.isocentre_mm,
    )  # fmt: skip
    return lengths[..., cut : columns - cut].contiguous(), smaller


def _write(
    case: Path,
    lengths: torch.Tensor,
    geometry: ConeBeam,
    grid: Grid,
    scanner: ConeBeamScanner | None,
    rng: np.random.Generator,
    ct: NDArray[np.float32],
    body: NDArray[np.bool_],
) -> None:
    imager = Imager(scatter=0.09, photons=2.0e4 * PIXEL_MM * PIXEL_MM)
    if scanner is not None:
        lengths, geometry = narrowed(lengths, geometry, scanner.parameters["diameter_mm"])
        imager = scanner.imager(PIXEL_MM)
    scan = scan_of_lengths(lengths, grid, geometry, imager, rng)
    seen = field_of_view(grid, geometry).numpy()
    write_volume(case / "source.zarr", scan)
    write_volume(case / "ct.zarr", Volume(stored_hu(ct), grid, Modality.CT))
    mask = (body & seen).astype(np.uint8)
    write_volume(case / "mask.zarr", Volume(mask, grid, Modality.MASK))
    write_whole(case / "scanner.json", canonical_json(vars(imager)))


def _at(grid: Grid, middle_mm: float) -> Grid:
    z, y, x = grid.origin_mm
    return Grid(grid.shape, grid.spacing_mm, (z + middle_mm, y, x))
