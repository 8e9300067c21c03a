"""Two files in, the moved scan, the transform and a verdict out: behind ``synthct register``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import SimpleITK as sitk

from data.faults import UsageFault
from data.files import canonical_json, whole_folder, write_whole
from data.readers import read_scan
from data.volume import Modality, Volume
from data.writers import write_displacement_image, write_image
from tasks.ingestion.body import body_mask
from tasks.ingestion.params import BodyParams
from tasks.registration.gate import GateParams
from tasks.registration.measures import as_ct
from tasks.registration.params import METHODS
from tasks.registration.presets import preset_called, usual_preset
from tasks.registration.register import Registered, register
from tasks.registration.scan_pair import ScanPair
from tasks.threads import limit_threads

TRANSFORM = "transform.tfm"
_QUALITY = "quality.json"


def register_files(
    fixed: Path,
    moving: Path,
    *,
    fixed_mask: Path | None = None,
    moving_mask: Path | None = None,
    fixed_modality: Modality | None = None,
    moving_modality: Modality | None = None,
    method: str = "elastix_mi",
    preset: str | None = None,
    region: str = "other",
    out: Path,
    seed: int = 0,
    threads: int = 1,
    gate: GateParams | None = None,
    progress: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Register two files and write a folder of results on the grid of ``fixed``.

    Writes ``moved.mha``, ``displacement.mha`` (fixed -> moving [mm, LPS]), ``transform.tfm``
    (ITK, the same mapping) and ``quality.json``, which is also returned.

    Parameters
    ----------
    fixed, moving
        Scans: DICOM folder or zip, NIfTI, MHA, NRRD.
    fixed_mask, moving_mask
        Bodies (> 0) on the voxels of their scans; found by threshold where not given.
    fixed_modality, moving_modality
        What a scan that is not DICOM measures.
    preset
        Name of a preset; by default the published one for modality and region.
    out
        Folder, made whole; one that holds something else is never replaced.
    seed, threads
        The same pair of numbers gives the same bytes.
    progress
        Told each step's name as it starts: read, rigid, deformable, gate, write.
    """
    tell = progress or (lambda step: None)
    _check_request(method, out)
    wanted = preset_called(preset, where="--preset") if preset else None
    tell("read")
    pair = _read_pair(
        read_scan(fixed, fixed_modality),
        read_scan(moving, moving_modality),
        fixed_mask,
        moving_mask,
        region,
    )
    chosen = wanted or preset_called(usual_preset(_task(pair.fixed), region))
    with limit_threads(threads):
        done = register(
            pair,
            pair.fixed.grid,
            chosen,
            gate or GateParams(),
            seed=seed,
            threads=threads,
            tell=tell,
        )
    tell("write")
    return _write(out, done, method, seed)


def _check_request(method: str, out: Path) -> None:
    if method not in METHODS:
        raise UsageFault(
            f"no registration method is called {method!r}",
            where="--method",
            remedy=f"known: {', '.join(METHODS)}",
            code="unknown-method",
        )
    if out.exists() and not (out / TRANSFORM).is_file() and (out.is_file() or any(out.iterdir())):
        raise UsageFault(
            "the out folder is new, empty or holds an earlier registration",
            where=str(out),
            got="other files",
            remedy="name another folder",
            code="out-not-empty",
        )


def _task(fixed: Volume) -> str:
    return "mr" if fixed.modality is Modality.MR else "cbct"


def _read_pair(
    fixed: Volume,
    moving: Volume,
    fixed_mask: Path | None,
    moving_mask: Path | None,
    region: str,
) -> ScanPair:
    return ScanPair(
        fixed=fixed,
        moving=moving,
        fixed_body=_body(fixed, fixed_mask, region),
        moving_body=_body(moving, moving_mask, region),
    )


def _body(scan: Volume, mask: Path | None, region: str) -> Volume:
    if mask is not None:
        return read_scan(mask, Modality.MASK)
    return body_mask(scan, BodyParams(), region)


def _write(out: Path, done: Registered, method: str, seed: int) -> dict[str, Any]:
    quality = {
        **done.quality,
        "transform": TRANSFORM,
        "method": method,
        "seed": seed,
    }
    moved = done.moved.scan
    with whole_folder(out) as folder:
        write_image(folder / "moved.mha", as_ct(moved) if moved.modality is Modality.CT else moved)
        write_displacement_image(folder / "displacement.mha", done.moved.displacement)
        sitk.WriteTransform(done.transform, str(folder / TRANSFORM))
        write_whole(folder / _QUALITY, canonical_json(quality))
    return quality
