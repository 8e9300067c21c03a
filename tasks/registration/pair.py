"""Two files in, the moved scan, the transform and a verdict out: behind ``synthct register``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from data.faults import UsageFault
from data.files import canonical_json, whole_folder, write_whole
from data.readers import read_scan
from data.volume import Modality, Volume
from data.writers import write_displacement_image, write_image
from tasks.ingestion.body import body_mask
from tasks.ingestion.params import BodyParams
from tasks.registration.gate import GateParams
from tasks.registration.measures import as_ct
from tasks.registration.methods import METHODS
from tasks.registration.presets import preset_called, usual_preset
from tasks.registration.register import Registered, register
from tasks.registration.scan_pair import ScanPair
from tasks.registration.transform_file import write_transform
from tasks.threads import limit_threads

_QUALITY = "quality.json"
"""A folder that holds one is an earlier registration and may be replaced."""


def register_files(
    fixed: Path,
    moving: Path,
    *,
    fixed_mask: Path | None = None,
    moving_mask: Path | None = None,
    fixed_modality: Modality | None = None,
    moving_modality: Modality | None = None,
    method: str = "elastix_mi",
    method_options: Mapping[str, Any] | None = None,
    preset: str | None = None,
    region: str = "other",
    out: Path,
    seed: int = 0,
    threads: int = 1,
    gate: GateParams | None = None,
    progress: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Register two files and write a folder of results on the grid of ``fixed``.

    Writes ``moved.mha``, ``displacement.mha`` (fixed -> moving [mm, LPS]), ``quality.json``, which
    is also returned, and the ITK transform that it names, the same mapping: ``transform.tfm``, or
    ``transform.h5`` for a dense field.

    Parameters
    ----------
    fixed, moving
        Scans: DICOM folder or zip, NIfTI, MHA, NRRD.
    fixed_mask, moving_mask
        Bodies (> 0) on the voxels of their scans; found by threshold where not given.
    fixed_modality, moving_modality
        What a scan that is not DICOM measures.
    method, method_options
        Name in ``tasks.registration.methods`` and its parameters.
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
    chosen = METHODS.build(method, method_options or {}, where="--method")
    chosen.plugins()  # names and parameters are checked before any file is read
    _check_out(out)
    wanted = preset_called(preset, where="--preset") if preset else None
    tell("read")
    pair = _read_pair(
        read_scan(fixed, fixed_modality),
        read_scan(moving, moving_modality),
        fixed_mask,
        moving_mask,
        region,
    )
    tuned = wanted or preset_called(usual_preset(_task(pair.fixed), region))
    with limit_threads(threads):
        done = register(
            pair,
            pair.fixed.grid,
            tuned,
            gate or GateParams(),
            chosen,
            seed=seed,
            threads=threads,
            tell=tell,
        )
    tell("write")
    facts = {"method": method, "method_facts": chosen.facts(), "seed": seed}
    return _write(out, done, facts)


def _check_out(out: Path) -> None:
    if out.exists() and not (out / _QUALITY).is_file() and (out.is_file() or any(out.iterdir())):
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


def _write(out: Path, done: Registered, facts: Mapping[str, Any]) -> dict[str, Any]:
    moved = done.moved.scan
    with whole_folder(out) as folder:
        write_image(folder / "moved.mha", as_ct(moved) if moved.modality is Modality.CT else moved)
        write_displacement_image(folder / "displacement.mha", done.moved.displacement)
        name = write_transform(folder, done.transform)
        quality = {**done.quality, "transform": name, **facts}
        write_whole(folder / _QUALITY, canonical_json(quality))
    return quality
