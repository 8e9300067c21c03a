"""Volumes into one HTML file that a browser opens from disk: no server, nothing fetched."""

from __future__ import annotations

import base64
import json
import os
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from synthct.data.errors import DataError, UsageError, did_you_mean, mask_empty
from synthct.data.itk import resample
from synthct.data.orientation import nearest_axes
from synthct.data.readers import format_of, pick_series, read_scan
from synthct.data.volume import Grid, Modality, Triple, Volume
from synthct.tasks.figures.pictures import WINDOWS
from synthct.tasks.figures.templates import templates
from synthct.tasks.report.strips import MIN_AREA, read_scene, source_limits

FOLDER = Path(__file__).parent

MAX_VOXELS = 3_000_000
"""Voxels of a volume in the page: larger ones are averaged, so that the file stays below about
30 MB and a phone can open it."""

HU_LIMITS = (-1024, 3071)
CODES = 4095
"""An MR is stored in this many steps between its limits, a CT in HU."""


@dataclass(frozen=True)
class ViewerCase:
    """What a page shows: volumes on one upright grid, a mask, and where to start.

    Parameters
    ----------
    title
        Name of the case.
    source, ct, sct
        Volumes of the same grid; None where there is none.
    mask
        True inside the body; the difference is shown there. All True where no mask is known.
    """

    title: str
    grid: Grid
    source: NDArray[Any] | None
    ct: NDArray[Any] | None
    sct: NDArray[Any] | None
    mask: NDArray[np.bool_]


def case_of_workspace(registration: Path, evaluation: Path, case: str) -> ViewerCase:
    """The scored case of a workspace: its source, registered CT, synthetic CT and body.

    Raises
    ------
    UsageError
        ``unknown-case``.
    """
    known = sorted(
        path.name for path in evaluation.glob("*/") if (registration / path.name).is_dir()
    )
    if case not in known:
        raise UsageError(
            f"there is no scored case {case!r}",
            rule="a case is a patient and a source, such as P01_mr",
            where=str(evaluation),
            remedy=did_you_mean(case, known)
            if known
            else "score the cases first: synthct run --until evaluation",
            code="unknown-case",
        )
    scene = read_scene(registration / case, evaluation / case)
    return ViewerCase(
        case, scene.ct.grid, scene.source.array, scene.ct.array, scene.sct.array, scene.mask
    )


def case_of_files(
    title: str,
    *,
    source: Path | None = None,
    ct: Path | None = None,
    sct: Path | None = None,
    mask: Path | None = None,
    source_modality: Modality = Modality.MR,
    series: Mapping[str, str] | None = None,
) -> ViewerCase:
    """Scans in files, each interpolated onto the grid of the first of sCT, CT and source.

    The difference is shown only where both CTs lie.

    Parameters
    ----------
    source_modality
        Modality of a source that does not state it.
    series
        Number, description or UID of the series by name (``sct``, ``ct``, ``source``), where a
        DICOM folder or zip holds several volumes that fit.

    Raises
    ------
    DataError
        A file is damaged, ``apart``: two scans do not overlap, or ``mask-empty``.
    UsageError
        ``nothing-to-view``.
    """
    given = {
        "sct": (sct, Modality.CT),
        "ct": (ct, Modality.CT),
        "source": (source, source_modality),
    }
    found = {
        name: _read(path, kind, (series or {}).get(name, ""))
        for name, (path, kind) in given.items()
        if path is not None
    }
    if not found:
        raise UsageError(
            "no scan was named",
            rule="name a CASE, or one of --source, --ct and --sct",
            where="view",
            code="nothing-to-view",
        )
    grid = upright(next(iter(found.values())).grid)
    on = {name: _onto(volume, grid, str(given[name][0])) for name, volume in found.items()}
    inside = np.ones(grid.shape, bool)
    if mask is not None:
        inside = _onto(read_scan(mask, Modality.MASK), grid, str(mask)) > 0
        if not inside.any():
            raise mask_empty("the body mask", "the scans", where=str(mask))
    for name in ("sct", "ct"):
        if name in found:
            inside &= _covered(found[name].grid, grid)
    return ViewerCase(title, grid, on.get("source"), on.get("ct"), on.get("sct"), inside)


def _read(path: Path, kind: Modality, selector: str) -> Volume:
    """One scan; a DICOM source may be the other modality than the option's default."""
    uid = pick_series(path, selector, [kind])
    if kind is not Modality.MR or format_of(path) != "dicom":
        return read_scan(path, kind, series=uid)
    scan = read_scan(path, series=uid)
    if scan.modality is Modality.CT:
        raise DataError(
            "the source is a CT by its header",
            rule="the source is an MR or a cone-beam CT",
            where=str(path),
            remedy="name a planning CT with --ct; a cone-beam CT that does not say so: "
            "--source-modality cbct",
            code="wrong-modality",
        )
    return scan


def _onto(volume: Volume, grid: Grid, where: str) -> NDArray[Any]:
    if volume.grid.is_close(grid):
        return volume.array
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in volume.grid.shape])).reshape(3, -1).T
    index = grid.index(volume.grid.points(corners))
    if (index.max(axis=0) < 0).any() or (index.min(axis=0) > np.asarray(grid.shape) - 1).any():
        raise DataError(
            "the scan does not overlap with the others",
            rule="scans that are viewed together share a frame",
            where=where,
            remedy="register it first: synthct register",
            code="apart",
        )
    outside = {Modality.MASK: 0.0, Modality.MR: float(volume.array.min())}
    empty = outside.get(volume.modality, float(HU_LIMITS[0]))
    nearest = volume.modality is Modality.MASK
    return resample(volume, grid, outside=empty, nearest=nearest).array


def _covered(scan: Grid, grid: Grid) -> NDArray[np.bool_]:
    """Voxels of ``grid`` (Z, Y, X) that lie in a scan."""
    if scan.is_close(grid):
        return np.ones(grid.shape, bool)
    whole = Volume(np.ones(scan.shape, np.uint8), scan, Modality.MASK)
    return np.asarray(resample(whole, grid, outside=0.0, nearest=True).array > 0)


def upright(grid: Grid) -> Grid:
    """Axes along (z, y, x) of the patient, with the same spacing, around all of the grid.

    The voxels of a grid that is only flipped or permuted are kept as they are.
    """
    order, _ = nearest_axes(grid)
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in grid.shape])).reshape(3, -1).T
    points = grid.points(corners)
    low, high = points.min(axis=0), points.max(axis=0)
    spacing = np.asarray([grid.spacing_mm[axis] for axis in order])
    counts = np.round((high - low) / spacing).astype(int) + 1
    return Grid((int(counts[0]), int(counts[1]), int(counts[2])), _triple(spacing), _triple(low))


def write_page(viewed: ViewerCase, *, most_voxels: int = MAX_VOXELS) -> str:
    """The page as text."""
    factors = averaging(viewed.grid, most_voxels)
    small = {
        name: None if array is None else _averaged(array, factors)
        for name, array in (("source", viewed.source), ("ct", viewed.ct), ("sct", viewed.sct))
    }
    mask = np.asarray(_averaged(viewed.mask, factors) >= 0.5)
    spacing = np.asarray(viewed.grid.spacing_mm) * factors
    origin = viewed.grid.points((np.asarray(factors) - 1) / 2)
    volumes = {
        name: _packed(name, array, mask) for name, array in small.items() if array is not None
    }
    data = {
        "shape": list(mask.shape),
        "spacing": [round(float(step), 4) for step in spacing],
        "origin": [round(float(value), 3) for value in origin],
        "volumes": volumes,
        "mask": _bytes(mask.astype(np.uint8)),
        "masked": not bool(viewed.mask.all()),
        "start": _start(small["ct"], small["sct"], mask),
    }
    step = "" if max(factors) == 1 else " x ".join(str(n) for n in factors)
    return (
        templates(FOLDER)
        .get_template("view.html.j2")
        .render(
            # A file name that is not UTF-8 holds lone surrogates, which no page can.
            title=os.fsencode(viewed.title).decode(errors="replace"),
            style=_inline("view.css"),
            script=_inline("view.js"),
            # "<" cannot end the script element that holds the data.
            data=Markup(json.dumps(data).replace("<", "\\u003c")),
            windows={name: (label, low, high) for name, (label, low, high) in WINDOWS.items()},
            averaged=step,
            both=small["ct"] is not None and small["sct"] is not None,
        )
    )


def averaging(grid: Grid, most_voxels: int) -> tuple[int, int, int]:
    """Voxels averaged along each axis (z, y, x), finest axes first, until few enough are left."""
    factors = [1, 1, 1]
    while np.prod([-(-n // f) for n, f in zip(grid.shape, factors, strict=True)]) > most_voxels:
        steps = [s * f if n > f else np.inf
                 for s, f, n in zip(grid.spacing_mm, factors, grid.shape, strict=True)]  # fmt: skip
        finest = min(steps)
        for axis, step in enumerate(steps):
            if step < 1.01 * finest:
                factors[axis] += 1
    return factors[0], factors[1], factors[2]


def _averaged(array: NDArray[Any], factors: tuple[int, int, int]) -> NDArray[np.float32]:
    """Means of whole blocks; what is left at the far ends is averaged with its last voxel."""
    pads = [(0, -n % f) for n, f in zip(array.shape, factors, strict=True)]
    whole = np.pad(array.astype(np.float32), pads, mode="edge")
    z, y, x = factors
    nz, ny, nx = (n // f for n, f in zip(whole.shape, factors, strict=True))
    means: NDArray[np.float32] = whole.reshape(nz, z, ny, y, nx, x).mean(
        axis=(1, 3, 5), dtype=np.float32
    )
    return means


def _packed(name: str, array: NDArray[np.float32], mask: NDArray[np.bool_]) -> Mapping[str, Any]:
    """Whole numbers with ``value = code * scale + offset``, and the limits of the first window."""
    if name != "source":
        codes = np.clip(np.rint(array), *HU_LIMITS)
        return {"scale": 1, "offset": 0, "codes": _bytes(codes.astype("<i2"))}
    low, high = float(array.min()), float(array.max())
    scale = max(high - low, 1e-9) / CODES
    shown = source_limits(Volume(array, Grid(array.shape, (1.0, 1.0, 1.0)), Modality.MR), mask)
    codes = np.rint((array - low) / scale).astype("<i2")
    return {"scale": scale, "offset": low, "limits": list(shown), "codes": _bytes(codes)}


def _bytes(codes: NDArray[Any]) -> str:
    return base64.b64encode(zlib.compress(codes.tobytes(), 6)).decode()


def _start(ct: NDArray[Any] | None, sct: NDArray[Any] | None, mask: NDArray[np.bool_]) -> list[int]:
    """The middle of the body in the axial slice of largest error, or in the middle slice."""
    z = mask.shape[0] // 2
    if ct is not None and sct is not None and mask.any():
        area = mask.sum(axis=(1, 2))
        error = np.where(mask, np.abs(sct - ct), 0).sum(axis=(1, 2)) / np.maximum(area, 1)
        z = int(np.argmax(np.where(area >= MIN_AREA * area.max(), error, -1)))
    rows, columns = np.nonzero(mask[z]) if mask[z].any() else (np.array([0]), np.array([0]))
    return [z, int(np.median(rows)), int(np.median(columns))]


def _inline(name: str) -> Markup:
    return Markup((FOLDER / name).read_text())


def _triple(values: Any) -> Triple:
    first, second, third = (float(value) for value in values)
    return first, second, third
